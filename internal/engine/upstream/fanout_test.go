package upstream

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/backend/backendtest"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/upstreamtest"
	"github.com/seed-4dedbcea/caddy-sse/modules/stdin"
	"go.uber.org/zap"
)

// only is an upstream of which there is just one.
type only struct{ backend.Upstream }

func (u only) Stream(ctx context.Context, _ string, sink backend.Sink) error {
	return streamSingle(ctx, u.Upstream, sink)
}

func TestAnInputOfWhichThereIsOneIsHeardByAllWhoTakeIt(t *testing.T) {
	in, w := io.Pipe()
	u := only{stdin.NewUpstream(in)}
	say := func(text string) {
		t.Helper()
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	first := upstreamtest.Run(t, u, "")
	say("a\n")
	first.Hears(t, "a\n")
	second := upstreamtest.Run(t, u, "")
	upstreamtest.Eventually(t, func() bool { return len(second.Texts()) == 1 }, func() string { return "is not open" })
	say("b\n")
	first.Hears(t, "a\nb\n")
	second.Hears(t, "b\n")

	first.Stop()
	if err := first.Wait(t); !errors.Is(err, context.Canceled) {
		t.Errorf("the one that has left: got %v", err)
	}
	say("c\n")
	second.Hears(t, "b\nc\n")
	if text := first.Text(); text != "a\nb\n" {
		t.Errorf("the one that has left was given %q", text)
	}

	// Nobody is there; what is said then waits for the next one.
	second.Stop()
	second.Wait(t)
	third := upstreamtest.Run(t, u, "")
	say("d\n")
	third.Hears(t, "d\n")
	w.Close()
	if err := third.Wait(t); err != backend.ErrEnded {
		t.Errorf("at the end: got %v", err)
	}
	if err := upstreamtest.Run(t, u, "").Wait(t); err != backend.ErrEnded {
		t.Errorf("after the end: got %v", err)
	}
}

func TestWhoComesWithinALineHearsTheNextOne(t *testing.T) {
	in, w := io.Pipe()
	u := only{stdin.NewUpstream(in)}
	first := upstreamtest.Run(t, u, "")
	for _, text := range []string{"a\nb", "b"} {
		_, _ = io.WriteString(w, text)
	}
	first.Hears(t, "a\nbb")
	second := upstreamtest.Run(t, u, "")
	upstreamtest.Eventually(t, func() bool { return len(second.Texts()) == 1 }, func() string { return "is not open" })
	for _, text := range []string{"b", "b\nc", "\nd\n"} {
		_, _ = io.WriteString(w, text)
	}
	first.Hears(t, "a\nbbbb\nc\nd\n")
	second.Hears(t, "c\nd\n")
	w.Close()
}

func TestATakerThatFailsIsNobodyElsesBusiness(t *testing.T) {
	in, w := io.Pipe()
	u := only{stdin.NewUpstream(in)}
	stays := upstreamtest.Run(t, u, "")
	upstreamtest.Eventually(t, func() bool { return len(stays.Texts()) == 1 }, func() string { return "is not open" })
	enough := errors.New("enough")
	failed := make(chan error)
	sink := &backendtest.Tape{WriteErr: enough}
	go func() { failed <- u.Stream(context.Background(), "", sink) }()
	upstreamtest.Eventually(t, func() bool { return len(sink.Types()) == 1 }, func() string { return "is not open" })
	if _, err := io.WriteString(w, "a\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != enough {
		t.Errorf("got %v", err)
	}
	if _, err := io.WriteString(w, "b\n"); err != nil {
		t.Fatal(err)
	}
	stays.Hears(t, "a\nb\n")
	w.Close()
}

// panicking is an Upstream that does not do what it should.
type panicking struct{}

func (panicking) Key() string                                        { return backend.Key("panicking") }
func (panicking) Stream(context.Context, string, backend.Sink) error { panic("the test says so") }

func TestABackendThatPanicsFails(t *testing.T) {
	c := &Config{Report: NewReporter("", "test", zap.NewNop(), metrics.New("", "test", nil), 0, "")}
	if err := c.Open(t.Context(), panicking{}, "", nil); err != ErrPanicked {
		t.Errorf("got %v", err)
	}
}
