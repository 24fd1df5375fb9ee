// Package stdin is the backend that reads the server's standard input.
package stdin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
)

func init() {
	caddy.RegisterModule(new(Backend))
}

// Backend reads records from the server's standard input. All streams share it. The end of the input ends the streams.
type Backend struct{}

// CaddyModule returns the Caddy module information.
func (*Backend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: backend.Namespace + ".stdin", New: func() caddy.Module { return new(Backend) }}
}

// Bind returns the upstream that all requests share.
func (b *Backend) Bind(*http.Request) (backend.Upstream, error) { return b.Upstream(), nil }

// Upstream returns the upstream that all requests share.
func (*Backend) Upstream() backend.Upstream { return standardInput }

var standardInput = newUpstream(os.Stdin)

// upstream passes on the bytes that its own goroutine reads. That goroutine never ends, because nothing can interrupt a read from
// standard input. Bytes that it reads while no Stream runs wait for the next Stream.
type upstream struct {
	from  io.Reader
	start sync.Once
	full  chan []byte   // the bytes of a read; closed at the end
	done  chan struct{} // receives a value when the bytes were taken and the buffer can be reused
	err   error         // the reason for the end
}

// NewUpstream returns an upstream that reads another input in the same way.
func NewUpstream(from io.Reader) backend.Upstream { return newUpstream(from) }

func newUpstream(from io.Reader) *upstream {
	return &upstream{from: from, full: make(chan []byte), done: make(chan struct{})}
}

func (u *upstream) read() {
	defer close(u.full)
	u.err = backend.Copy(u, u.from, backend.ReadSize)
}

// Write passes p on, and waits until a Stream has taken it.
func (u *upstream) Write(p []byte) (int, error) {
	u.full <- p
	<-u.done
	return len(p), nil
}

// Key returns a constant, because a process has one standard input.
func (u *upstream) Key() string { return backend.Key("stdin") }

func (u *upstream) Stream(ctx context.Context, _ string, sink backend.Sink) error {
	input, err := sink.Open("")
	if err != nil {
		return err
	}
	u.start.Do(func() { go u.read() })
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p, more := <-u.full:
			if !more {
				return u.ended()
			}
			_, err := input.Write(p)
			u.done <- struct{}{}
			if err != nil {
				return err
			}
		}
	}
}

func (u *upstream) ended() error {
	if u.err != nil {
		return fmt.Errorf("%w: reading standard input: %w", backend.ErrEnded, u.err)
	}
	return backend.ErrEnded
}

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	backend stdin
func (*Backend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume backend name
	if err := directive.NoArgs(d); err != nil {
		return err
	}
	if d.NextBlock(0) {
		return d.Errf("unrecognized subdirective %q of backend stdin", d.Val())
	}
	return nil
}

var (
	_ backend.AlwaysShared  = (*Backend)(nil)
	_ backend.Upstream      = (*upstream)(nil)
	_ caddyfile.Unmarshaler = (*Backend)(nil)
)
