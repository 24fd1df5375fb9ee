package sse

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(new(ListenBackend))
}

// ListenBackend listens for upstreams that push, many at a time: over TCP, unix sockets (stream and datagram) and
// UDP. The records of each connection are told apart from those of others; a datagram's end ends a record. The
// socket is open for as long as the config runs, and survives reloads. There may be 1024 connections at a time; more
// are closed at once.
type ListenBackend struct {
	// The network address to listen on, with one port: host:port, udp/host:port, unix//path, unixgram//path. A
	// unix socket's permissions may follow: unix//path|0222. It takes placeholders of the server, such as {env.X}.
	Address string `json:"address"`

	address caddy.NetworkAddress
	logger  *zap.Logger
	limit   logLimit
}

// maxSenders is how many connections there may be at a time.
const maxSenders = 1024

// CaddyModule returns the Caddy module information.
func (*ListenBackend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: backendNamespace + ".listen", New: func() caddy.Module { return new(ListenBackend) }}
}

// Provision expands and parses the address.
func (b *ListenBackend) Provision(ctx caddy.Context) error {
	b.logger = ctx.Logger()
	given, err := parseListenArgument(b.Address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	text, err := given.expand("")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if b.address, err = parseListenAddress(text); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// parseListenArgument compiles the address, and checks it if there is nothing to expand: the environment that a
// Caddyfile is adapted in need not be that of the server.
func parseListenArgument(text string) (argument, error) {
	given, err := parseArgument(text, asText)
	if err != nil {
		return given, err
	}
	if err := onlyGlobal(given); err != nil {
		return given, err
	}
	if given.isFixed() {
		_, err = parseListenAddress(given.text())
	}
	return given, err
}

func parseListenAddress(text string) (caddy.NetworkAddress, error) {
	address, err := caddy.ParseNetworkAddress(text)
	if err != nil {
		return address, err
	}
	networks := []string{"tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "unix", "unixgram"}
	switch {
	case !slices.Contains(networks, address.Network):
		return address, fmt.Errorf("network of %q must be tcp, udp, unix or unixgram, not %s", text, address.Network)
	case !address.IsUnixNetwork() && (address.StartPort == 0 || address.PortRangeSize() != 1):
		return address, fmt.Errorf("%q must have one port", text)
	case address.IsUnixNetwork() && address.Host == "":
		return address, fmt.Errorf("%q must have the path of a socket", text)
	}
	return address, nil
}

// Bind returns the upstream that all requests share.
func (b *ListenBackend) Bind(*http.Request) (Upstream, error) { return b.Upstream(), nil }

// Upstream is the socket.
func (b *ListenBackend) Upstream() Upstream { return &listenUpstream{backend: b} }

// listenUpstream is a socket to listen on.
type listenUpstream struct{ backend *ListenBackend }

// Key is the address: two handlers that listen there listen to the same senders.
func (u *listenUpstream) Key() string { return Key("listen", u.backend.address.String()) }

func (u *listenUpstream) Stream(ctx context.Context, _ string, sink Sink) error {
	// Caddy's listeners take over the file of a unix socket that nobody has closed.
	socket, err := u.backend.address.Listen(ctx, 0, net.ListenConfig{})
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	switch socket := socket.(type) {
	case net.Listener:
		defer context.AfterFunc(ctx, func() { socket.Close() })()
		defer socket.Close()
		s := &senders{backend: u.backend, sink: sink, fail: cancel, conns: make(map[net.Conn]struct{})}
		err = s.accept(ctx, socket)
	case net.PacketConn:
		defer context.AfterFunc(ctx, func() { socket.Close() })()
		defer socket.Close()
		err = receive(socket, sink)
	default:
		err = fmt.Errorf("listening: %s gives neither connections nor packets, but a %T", u.backend.address, socket)
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// receive takes datagrams, each of which is one or more whole records.
func receive(socket net.PacketConn, sink Sink) error {
	input, err := sink.Open("")
	if err != nil {
		return err
	}
	const largest = 64 << 10 // UDP's length field has 16 bits
	for buf := make([]byte, largest); ; {
		n, _, err := socket.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("receiving: %w", err)
		}
		if _, err := input.Write(buf[:n]); err != nil {
			return err
		}
		if err := input.End(true); err != nil {
			return err
		}
	}
}

// senders are the connections to a socket.
type senders struct {
	backend *ListenBackend
	sink    Sink
	fail    context.CancelCauseFunc // ends all of them

	wg    sync.WaitGroup
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// accept takes connections until ctx ends, which closes the listener.
func (s *senders) accept(ctx context.Context, listener net.Listener) error {
	defer s.wg.Wait()
	defer s.closeAll()
	// An input of no connection says that the upstream is there, before anyone has sent anything.
	if _, err := s.sink.Open(""); err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		switch {
		case err == nil:
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return err
		default: // such as too many open files, which passes
			s.warn("accepting a connection failed", zap.Error(err))
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		if !s.add(conn) {
			conn.Close()
			s.warn("connection refused, as there are too many", zap.Int("connections", maxSenders))
			continue
		}
		s.wg.Go(func() {
			defer s.remove(conn)
			if err := s.take(conn); err != nil {
				s.fail(err)
			}
		})
	}
}

// take takes what one sender has to say. Its connection's failure harms nobody else; the error is the sink's.
func (s *senders) take(conn net.Conn) error {
	input, err := s.sink.Open("")
	if err != nil {
		return err
	}
	w := &inputWriter{to: input}
	err = copyInput(w, conn, readSize)
	if w.err != nil {
		return w.err
	}
	return input.End(err == nil)
}

func (s *senders) add(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= maxSenders {
		return false
	}
	s.conns[conn] = struct{}{}
	return true
}

func (s *senders) remove(conn net.Conn) {
	conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

func (s *senders) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.Close()
	}
}

func (s *senders) warn(message string, field zap.Field) {
	if ok, _ := s.backend.limit.allow(time.Now(), warningRate); ok {
		s.backend.logger.Warn(message, zap.Stringer("address", s.backend.address), field)
	}
}

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	backend listen <network address>
func (b *ListenBackend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume backend name
	var err error
	b.Address, err = checked(d, func(text string) error { _, err := parseListenArgument(text); return err })
	if err != nil {
		return err
	}
	if d.NextBlock(0) {
		return d.Errf("unrecognized subdirective %q of backend listen", d.Val())
	}
	return nil
}

var (
	_ AlwaysShared          = (*ListenBackend)(nil)
	_ Upstream              = (*listenUpstream)(nil)
	_ caddy.Provisioner     = (*ListenBackend)(nil)
	_ caddyfile.Unmarshaler = (*ListenBackend)(nil)
)
