package sse

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/upstreamtest"
)

func TestStdinEndsForGood(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	u := newStdinUpstream(r)
	first := upstreamtest.Run(t, u, "")
	if _, err := w.Write([]byte("a\nb")); err != nil {
		t.Fatal(err)
	}
	first.Hears(t, "a\nb")
	w.Close()
	if err := first.Wait(t); !errors.Is(err, ErrEnded) {
		t.Errorf("got %v", err)
	}
	again := upstreamtest.Run(t, u, "")
	if err := again.Wait(t); !errors.Is(err, ErrEnded) || again.Text() != "" {
		t.Errorf("got %q, %v", again.Text(), err)
	}
}

func TestStdinLosesNothingWhileNobodyListens(t *testing.T) {
	in, w := io.Pipe()
	u := newStdinUpstream(in)
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
		// The goroutine that reads takes this, and nobody is there.
		if _, err := w.Write([]byte("unheard\n")); err != nil {
			t.Fatal(err)
		}
		all = "unheard\n"
	}
	w.Close()
	r := upstreamtest.Run(t, u, "")
	if err := r.Wait(t); !errors.Is(err, ErrEnded) || r.Text() != "unheard\n" {
		t.Errorf("got %q, %v", r.Text(), err)
	}
}

func TestStdinReadErrorEndsForGood(t *testing.T) {
	in, w := io.Pipe()
	broken := errors.New("broken")
	w.CloseWithError(broken)
	r := upstreamtest.Run(t, newStdinUpstream(in), "")
	if err := r.Wait(t); !errors.Is(err, ErrEnded) || !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
