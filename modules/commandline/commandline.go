// Package commandline is the backend for the command "caddy sse". It runs the backend that the command line names.
package commandline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/modules/exec"
)

// Backend opens its upstream when the server starts, as a pipe does, and all clients share it. The end of standard input, or of the
// command, ends the streams. Any other upstream is opened again.
type Backend struct {
	BackendRaw json.RawMessage `json:"backend,omitempty" caddy:"namespace=http.sse.backends inline_key=name"`

	upstream *upstream
}

// CaddyModule returns the Caddy module information. Only the command registers the module.
func (*Backend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: backend.Namespace + ".command_line", New: func() caddy.Module { return new(Backend) }}
}

// Provision loads the backend and binds it.
func (b *Backend) Provision(ctx caddy.Context) error {
	module, err := ctx.LoadModule(b, "BackendRaw")
	if err != nil {
		return err
	}
	command, isCommand := module.(*exec.Backend)
	if isCommand {
		command.ShowStderr(os.Stderr) // as a pipe does
	}
	bound, err := bind(module.(backend.Backend))
	b.upstream = &upstream{Upstream: bound, once: isCommand}
	return err
}

// bind binds a backend to an empty request.
func bind(b backend.Backend) (backend.Upstream, error) {
	if shared, ok := b.(backend.AlwaysShared); ok {
		return shared.Upstream(), nil
	}
	r, err := http.NewRequest(http.MethodGet, "/", http.NoBody)
	if err != nil {
		return nil, err
	}
	return b.Bind(r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer())))
}

// Bind returns the upstream that all requests share.
func (b *Backend) Bind(*http.Request) (backend.Upstream, error) { return b.upstream, nil }

// Upstream returns the one upstream.
func (b *Backend) Upstream() backend.Upstream { return b.upstream }

// over receives the result when the upstream has ended for good.
var over = make(chan error, 1)

// Wait waits until the upstream has ended for good. It returns an error if the upstream has failed.
func Wait() error { return <-over }

type upstream struct {
	backend.Upstream
	once bool // it is not opened again
}

func (u *upstream) Stream(ctx context.Context, lastID string, sink backend.Sink) error {
	err := u.Upstream.Stream(ctx, lastID, sink)
	if ctx.Err() != nil || !u.once && !errors.Is(err, backend.ErrEnded) {
		return err
	}
	if err == nil || err == backend.ErrEnded {
		over <- nil
		return backend.ErrEnded
	}
	over <- err
	return fmt.Errorf("%w: %w", backend.ErrEnded, err)
}

var (
	_ backend.AlwaysShared = (*Backend)(nil)
	_ caddy.Provisioner    = (*Backend)(nil)
)
