package commandline

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	osexec "os/exec"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/modules/dial"
	"github.com/seed-4dedbcea/caddy-sse/modules/exec"
	"github.com/seed-4dedbcea/caddy-sse/modules/file"
	"github.com/seed-4dedbcea/caddy-sse/modules/http"
	"github.com/seed-4dedbcea/caddy-sse/modules/stdin"
)

// New returns the backend that the command line names: --from, a command, or else standard input.
func New(from string, command []string) (*Backend, error) {
	config, err := choose(from, command)
	return &Backend{BackendRaw: config}, err
}

func choose(from string, command []string) (json.RawMessage, error) {
	info, err := os.Stat(from)
	isThere := err == nil
	switch {
	case from != "" && len(command) > 0:
		return nil, errors.New("records come either from --from or from a command: give only one of them")
	case len(command) > 0:
		if _, err := osexec.LookPath(command[0]); err != nil {
			return nil, err
		}
		return compiled("exec", &exec.Backend{Command: command})
	case from == "":
		return config("stdin", new(stdin.Backend)), nil
	case strings.HasPrefix(from, "http://") || strings.HasPrefix(from, "https://"):
		return compiled("http", &http.Backend{URL: from})
	case strings.HasPrefix(from, "unix/"), !isThere && isAddress(from):
		return compiled("dial", &dial.Backend{Address: from})
	case strings.Contains(from, "://"):
		return nil, errors.New("--from: a URL must begin with http:// or https://")
	case !isThere:
		fmt.Fprintf(os.Stderr, "%s is not there yet: waiting for it\n", from)
	case info.IsDir():
		return nil, fmt.Errorf("--from %s: this is a folder, not a file", from)
	}
	return compiled("file", &file.Backend{Path: from})
}

// compiled returns the config of a backend, or an error if its options are wrong.
func compiled(name string, b interface {
	backend.Backend
	Compile() error
}) (json.RawMessage, error) {
	if err := b.Compile(); err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	return config(name, b), nil
}

func config(name string, b backend.Backend) json.RawMessage {
	return caddyconfig.JSONModuleObject(b, "name", name, nil)
}

func isAddress(name string) bool {
	_, port, err := net.SplitHostPort(name)
	return err == nil && port != "" && !strings.Contains(name, string(os.PathSeparator))
}
