package sse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/seed-4dedbcea/caddy-sse/modules/dial"
	execbackend "github.com/seed-4dedbcea/caddy-sse/modules/exec"
	"github.com/seed-4dedbcea/caddy-sse/modules/file"
	httpbackend "github.com/seed-4dedbcea/caddy-sse/modules/http"
	"github.com/seed-4dedbcea/caddy-sse/modules/stdin"
)

// commandBackend finds the backend for what the command line names.
func commandBackend(from string, command []string) (json.RawMessage, error) {
	info, err := os.Stat(from)
	isThere := err == nil
	switch {
	case from != "" && len(command) > 0:
		return nil, errors.New("records come either from --from or from a command: give only one of them")
	case len(command) > 0:
		if _, err := exec.LookPath(command[0]); err != nil {
			return nil, err
		}
		return checkedBackend("exec", &execbackend.Backend{Command: command})
	case from == "":
		return checkedBackend("stdin", new(stdin.Backend))
	case strings.HasPrefix(from, "http://") || strings.HasPrefix(from, "https://"):
		return checkedBackend("http", &httpbackend.Backend{URL: from})
	case strings.HasPrefix(from, "unix/"), !isThere && isAddress(from):
		return checkedBackend("dial", &dial.Backend{Address: from})
	case strings.Contains(from, "://"):
		return nil, errors.New("--from: a URL must begin with http:// or https://")
	case !isThere:
		fmt.Fprintf(os.Stderr, "%s is not there yet: waiting for it\n", from)
	case info.IsDir():
		return nil, fmt.Errorf("--from %s: this is a folder, not a file", from)
	}
	return checkedBackend("file", &file.Backend{Path: from})
}

// checkedBackend is the backend's config, if its options are right.
func checkedBackend(name string, backend Backend) (json.RawMessage, error) {
	if options, ok := backend.(interface{ Compile() error }); ok {
		if err := options.Compile(); err != nil {
			return nil, fmt.Errorf("--from: %w", err)
		}
	}
	return caddyconfig.JSONModuleObject(backend, "name", name, nil), nil
}

func isAddress(name string) bool {
	_, port, err := net.SplitHostPort(name)
	return err == nil && port != "" && !strings.Contains(name, string(os.PathSeparator))
}

// upstreamOver tells the command that there will be no more, and why.
var upstreamOver = make(chan error, 1)

// commandLine is the backend of the command: the one that the command line names, opened at once, as it would be
// in a pipe, and for all clients; its end is the command's.
type commandLine struct {
	BackendRaw json.RawMessage `json:"backend,omitempty" caddy:"namespace=http.sse.backends inline_key=name"`

	upstream Upstream
	once     bool // its end is the end of the streams
}

func (*commandLine) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: backendNamespace + ".command_line", New: func() caddy.Module { return new(commandLine) }}
}

func (b *commandLine) Provision(ctx caddy.Context) error {
	module, err := ctx.LoadModule(b, "BackendRaw")
	if err != nil {
		return err
	}
	if command, ok := module.(*execbackend.Backend); ok {
		command.ShowStderr(os.Stderr) // as it would be in a pipe
		b.once = true
	}
	if shared, ok := module.(AlwaysShared); ok {
		b.upstream = shared.Upstream()
		return nil
	}
	request, err := http.NewRequest(http.MethodGet, "/", http.NoBody)
	if err != nil {
		return err
	}
	request = request.WithContext(context.WithValue(request.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer()))
	b.upstream, err = module.(Backend).Bind(request)
	return err
}

func (b *commandLine) Bind(*http.Request) (Upstream, error) { return b.Upstream(), nil }
func (b *commandLine) Upstream() Upstream                   { return commandUpstream{b.upstream, b.once} }

// commandUpstream is over when standard input or the command is; anything else is opened anew.
type commandUpstream struct {
	Upstream
	once bool
}

func (u commandUpstream) Stream(ctx context.Context, lastID string, sink Sink) error {
	err := u.Upstream.Stream(ctx, lastID, sink)
	if ctx.Err() != nil {
		return err
	}
	if !u.once && !errors.Is(err, ErrEnded) {
		return err
	}
	if endedCleanly(err) {
		upstreamOver <- nil
		return ErrEnded
	}
	upstreamOver <- err
	return fmt.Errorf("%w: %w", ErrEnded, err)
}

var (
	_ AlwaysShared      = (*commandLine)(nil)
	_ caddy.Provisioner = (*commandLine)(nil)
)
