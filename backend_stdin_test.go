package sse

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
)

func TestStdinEndsForGood(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	u := newStdinUpstream(r)
	first := run(t, u, "")
	if _, err := w.Write([]byte("a\nb")); err != nil {
		t.Fatal(err)
	}
	first.hears(t, "a\nb")
	w.Close()
	if err := first.wait(t); !errors.Is(err, ErrEnded) {
		t.Errorf("got %v", err)
	}
	again := run(t, u, "")
	if err := again.wait(t); !errors.Is(err, ErrEnded) || again.sink.text() != "" {
		t.Errorf("got %q, %v", again.sink.text(), err)
	}
}

func TestStdinLosesNothingWhileNobodyListens(t *testing.T) {
	in, w := io.Pipe()
	u := newStdinUpstream(in)
	all := ""
	for _, text := range []string{"one\n", "two\n", "three\n"} {
		r := run(t, u, "")
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		r.hears(t, all+text)
		all = ""
		r.stop()
		if err := r.wait(t); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		// The goroutine that reads takes this, and nobody is there.
		if _, err := w.Write([]byte("unheard\n")); err != nil {
			t.Fatal(err)
		}
		all = "unheard\n"
	}
	w.Close()
	r := run(t, u, "")
	if err := r.wait(t); !errors.Is(err, ErrEnded) || r.sink.text() != "unheard\n" {
		t.Errorf("got %q, %v", r.sink.text(), err)
	}
}

func TestStdinReadErrorEndsForGood(t *testing.T) {
	in, w := io.Pipe()
	broken := errors.New("broken")
	w.CloseWithError(broken)
	r := run(t, newStdinUpstream(in), "")
	if err := r.wait(t); !errors.Is(err, ErrEnded) || !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
