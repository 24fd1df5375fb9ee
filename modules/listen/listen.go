// Package listen is the backend that upstreams push to.
package listen

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/ratelog"
)

func init() {
	caddy.RegisterModule(new(Backend))
}

// Backend listens for upstreams that push, many at a time: over TCP, unix sockets (stream and datagram) and UDP. Each
// connection has records of its own. The end of a datagram ends a record. The socket is open for as long as the config
// runs, and survives reloads.
//
// There may be 1024 connections at a time. One more closes the connection that has been silent for longest. A connection
// that is silent for 24 hours is closed, and so is one over TCP whose other end no longer answers keep-alives. The
// unfinished records of all connections take 64 MiB at most. Beyond that, the largest of them counts as too large.
type Backend struct {
	// The network address to listen on, with one port: host:port, udp/host:port, unix//path, unixgram//path. A
	// unix socket's permissions may follow: unix//path|0222. It takes placeholders of the server, such as {env.X}.
	Address string `json:"address"`

	address     caddy.NetworkAddress
	idleTimeout time.Duration
	logger      *zap.Logger
	limit       *ratelog.Limiter
}

// CaddyModule returns the Caddy module information.
func (*Backend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: backend.Namespace + ".listen", New: func() caddy.Module { return new(Backend) }}
}

// Provision expands and parses the address.
func (b *Backend) Provision(ctx caddy.Context) error {
	b.logger, b.limit, b.idleTimeout = ctx.Logger(), ratelog.Warnings(), idleTimeout
	given, err := parseArgument(b.Address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	text, err := given.Expand("")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if b.address, err = parseAddress(text); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// parseArgument compiles the address. It checks an address without placeholders only: a Caddyfile may be adapted in
// another environment than the server's.
func parseArgument(text string) (argument.Argument, error) {
	given, err := argument.Parse(text, argument.Text)
	if err != nil {
		return given, err
	}
	if err := given.CheckGlobal(); err != nil {
		return given, err
	}
	if given.IsFixed() {
		_, err = parseAddress(given.Text())
	}
	return given, err
}

func parseAddress(text string) (caddy.NetworkAddress, error) {
	return argument.ParseAddress(text, "tcp, udp, unix or unixgram", "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "unix", "unixgram")
}

// Bind returns the upstream that all requests share.
func (b *Backend) Bind(*http.Request) (backend.Upstream, error) { return b.Upstream(), nil }

// Upstream returns the socket.
func (b *Backend) Upstream() backend.Upstream { return &upstream{backend: b} }

// upstream is the socket to listen on.
type upstream struct{ backend *Backend }

// Key is the address: two handlers that listen on it hear the same senders.
func (u *upstream) Key() string { return backend.Key("listen", u.backend.address.String()) }

func (u *upstream) Stream(ctx context.Context, _ string, sink backend.Sink) error {
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

// warn logs what happens to one sender among many, but not each time.
func (b *Backend) warn(message string, fields ...zap.Field) {
	if ok, _ := b.limit.Allow(); ok {
		b.logger.Warn(message, append(fields, zap.Stringer("address", b.address))...)
	}
}

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	backend listen <network address>
func (b *Backend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume backend name
	var err error
	b.Address, err = directive.Checked(d, func(text string) error { _, err := parseArgument(text); return err })
	if err != nil {
		return err
	}
	if d.NextBlock(0) {
		return d.Errf("unrecognized subdirective %q of backend listen", d.Val())
	}
	return nil
}

var (
	_ backend.AlwaysShared  = (*Backend)(nil)
	_ backend.Upstream      = (*upstream)(nil)
	_ caddy.Provisioner     = (*Backend)(nil)
	_ caddyfile.Unmarshaler = (*Backend)(nil)
)
