package sse

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
	caddy.RegisterModule(new(StdinBackend))
}

// StdinBackend takes what comes through the server's standard input. Its end is the end of the streams.
type StdinBackend struct{}

// CaddyModule returns the Caddy module information.
func (*StdinBackend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: backendNamespace + ".stdin", New: func() caddy.Module { return new(StdinBackend) }}
}

// Bind returns the upstream that all requests share.
func (b *StdinBackend) Bind(*http.Request) (Upstream, error) { return b.Upstream(), nil }

// Upstream is the standard input.
func (*StdinBackend) Upstream() Upstream { return standardInput }

// standardInput is that of the process.
var standardInput = newStdinUpstream(os.Stdin)

// stdinUpstream hands over what a goroutine reads that never ends, as nothing interrupts a read of standard input.
// What is read while no stream is there waits for the next one.
type stdinUpstream struct {
	from  io.Reader
	start sync.Once
	full  chan []byte   // what has been read; closed at the end
	done  chan struct{} // it has been taken, and its buffer can be read into again
	err   error         // why there is no more
}

func newStdinUpstream(from io.Reader) *stdinUpstream {
	return &stdinUpstream{from: from, full: make(chan []byte), done: make(chan struct{})}
}

func (u *stdinUpstream) read() {
	defer close(u.full)
	u.err = backend.Copy(u, u.from, backend.ReadSize)
}

// Write hands p over and waits until it has been taken.
func (u *stdinUpstream) Write(p []byte) (int, error) {
	u.full <- p
	<-u.done
	return len(p), nil
}

// Key is the same for all, as a process has one standard input.
func (u *stdinUpstream) Key() string { return Key("stdin") }

func (u *stdinUpstream) Stream(ctx context.Context, _ string, sink Sink) error {
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

func (u *stdinUpstream) ended() error {
	if u.err != nil {
		return fmt.Errorf("%w: reading standard input: %w", ErrEnded, u.err)
	}
	return ErrEnded
}

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	backend stdin
func (*StdinBackend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
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
	_ AlwaysShared          = (*StdinBackend)(nil)
	_ Upstream              = (*stdinUpstream)(nil)
	_ caddyfile.Unmarshaler = (*StdinBackend)(nil)
)
