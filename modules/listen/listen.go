// Package listen is the backend that senders push records to.
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

// Backend listens on a socket for senders that push records: over TCP, unix sockets (stream or datagram) or UDP. Many senders can be
// connected at a time. Each connection has its own records. The end of a datagram ends a record. The socket is open while the config
// runs, and survives reloads.
//
// There can be 1024 connections at a time. A new connection beyond that closes the one that has been silent for the longest time. A
// connection is closed after 24 hours of silence, and over TCP also when its other end no longer answers keep-alives. The unfinished
// records of all connections may take 64 MiB together. Beyond that, the largest of them counts as too large.
type Backend struct {
	// The network address to listen on, with one port: host:port, udp/host:port, unix//path, unixgram//path. The permissions of a
	// unix socket can follow: unix//path|0222. The address can have placeholders of the server, such as {env.X}.
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

// parseArgument compiles the address. It cannot check an address with placeholders: a Caddyfile may be adapted in another environment
// than the server's.
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

// Upstream returns the upstream that all requests share.
func (b *Backend) Upstream() backend.Upstream { return &upstream{backend: b} }

// upstream is the socket.
type upstream struct{ backend *Backend }

// Key returns the key, which is the address: handlers with the same address share the socket.
func (u *upstream) Key() string { return backend.Key("listen", u.backend.address.String()) }

func (u *upstream) Stream(ctx context.Context, _ string, sink backend.Sink) error {
	// Caddy's listeners can take over the file of a unix socket that was not closed.
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

// warn logs a warning about one sender, at a limited rate.
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
