package stdin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/backend/backendtest"
	"github.com/seed-4dedbcea/caddy-sse/internal/upstreamtest"
)

func TestStdinEndsForGood(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	u := newUpstream(r)
	first := upstreamtest.Run(t, u, "")
	if _, err := w.Write([]byte("a\nb")); err != nil {
		t.Fatal(err)
	}
	first.Hears(t, "a\nb")
	w.Close()
	if err := first.Wait(t); !errors.Is(err, backend.ErrEnded) {
		t.Errorf("got %v", err)
	}
	again := upstreamtest.Run(t, u, "")
	if err := again.Wait(t); !errors.Is(err, backend.ErrEnded) || again.Text() != "" {
		t.Errorf("got %q, %v", again.Text(), err)
	}
}

func TestStdinLosesNothingWhileNobodyListens(t *testing.T) {
	in, w := io.Pipe()
	u := newUpstream(in)
	all := ""
	for _, text := range []string{"one\n", "two\n", "three\n"} {
		r := upstreamtest.Run(t, u, "")
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		r.Hears(t, all+text)
		all = ""
		r.Stop()
		if err := r.Wait(t); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		// The goroutine that reads takes this while there is no stream.
		if _, err := w.Write([]byte("unheard\n")); err != nil {
			t.Fatal(err)
		}
		all = "unheard\n"
	}
	w.Close()
	r := upstreamtest.Run(t, u, "")
	if err := r.Wait(t); !errors.Is(err, backend.ErrEnded) || r.Text() != "unheard\n" {
		t.Errorf("got %q, %v", r.Text(), err)
	}
}

func TestStdinReadErrorEndsForGood(t *testing.T) {
	in, w := io.Pipe()
	broken := errors.New("broken")
	w.CloseWithError(broken)
	r := upstreamtest.Run(t, newUpstream(in), "")
	if err := r.Wait(t); !errors.Is(err, backend.ErrEnded) || !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestStdinIsABackend(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		r, w := io.Pipe()
		go func() {
			for {
				if _, err := io.WriteString(w, "a line\n"); err != nil {
					return
				}
			}
		}()
		u := newUpstream(r)
		u.start.Do(func() { go u.read() }) // it reads for as long as the process runs
		t.Cleanup(func() { r.Close() })
		return stdinOf{u}
	})
}

// stdinOf is Backend with another standard input.
type stdinOf struct{ upstream backend.Upstream }

func (b stdinOf) Bind(*http.Request) (backend.Upstream, error) { return b.upstream, nil }
func (b stdinOf) Upstream() backend.Upstream                   { return b.upstream }
