package sse

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/ratelog"
)

func init() {
	caddy.RegisterModule(new(ListenBackend))
}

// ListenBackend listens for upstreams that push, many at a time: over TCP, unix sockets (stream and datagram) and
// UDP. The records of each connection are told apart from those of others; a datagram's end ends a record. The
// socket is open for as long as the config runs, and survives reloads.
//
// There may be 1024 connections at a time: another one closes the one that has been silent for longest. A connection
// that has been silent for 24 hours is closed, and so is one over TCP whose other end does not answer keep-alives any
// more. What all of them have left unfinished takes 64 MiB at most: beyond that, the largest unfinished record counts
// as too large.
type ListenBackend struct {
	// The network address to listen on, with one port: host:port, udp/host:port, unix//path, unixgram//path. A
	// unix socket's permissions may follow: unix//path|0222. It takes placeholders of the server, such as {env.X}.
	Address string `json:"address"`

	address     caddy.NetworkAddress
	idleTimeout time.Duration
	logger      *zap.Logger
	limit       *ratelog.Limiter
}

// CaddyModule returns the Caddy module information.
func (*ListenBackend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: backendNamespace + ".listen", New: func() caddy.Module { return new(ListenBackend) }}
}

// Provision expands and parses the address.
func (b *ListenBackend) Provision(ctx caddy.Context) error {
	b.logger, b.limit, b.idleTimeout = ctx.Logger(), ratelog.Warnings(), idleTimeout
	given, err := parseListenArgument(b.Address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	text, err := given.Expand("")
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
func parseListenArgument(text string) (argument.Argument, error) {
	given, err := argument.Parse(text, argument.Text)
	if err != nil {
		return given, err
	}
	if err := given.CheckGlobal(); err != nil {
		return given, err
	}
	if given.IsFixed() {
		_, err = parseListenAddress(given.Text())
	}
	return given, err
}

func parseListenAddress(text string) (caddy.NetworkAddress, error) {
	return argument.ParseAddress(text, "tcp, udp, unix or unixgram", "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "unix", "unixgram")
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
		err = newSenders(sink, u.backend.idleTimeout, u.backend.warn, cancel).accept(ctx, socket)
	case net.PacketConn:
		defer context.AfterFunc(ctx, func() { socket.Close() })()
		defer socket.Close()
		err = receive(socket, sink, u.backend.warn)
	default:
		err = fmt.Errorf("listening: %s gives neither connections nor packets, but a %T", u.backend.address, socket)
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// warn says what happens to one sender among many, not each time.
func (b *ListenBackend) warn(message string, fields ...zap.Field) {
	if ok, _ := b.limit.Allow(); ok {
		b.logger.Warn(message, append(fields, zap.Stringer("address", b.address))...)
	}
}

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	backend listen <network address>
func (b *ListenBackend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume backend name
	var err error
	b.Address, err = directive.Checked(d, func(text string) error { _, err := parseListenArgument(text); return err })
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
