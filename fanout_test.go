package sse

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/backend/backendtest"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
	"github.com/seed-4dedbcea/caddy-sse/internal/upstreamtest"
	"github.com/seed-4dedbcea/caddy-sse/modules/stdin"
)

// only is an upstream of which there is just one.
type only struct{ Upstream }

func (u only) Stream(ctx context.Context, _ string, sink Sink) error {
	return streamOnly(ctx, u.Upstream, sink)
}

// A socket's connections and datagrams must not be divided among those who listen to it.
func TestHandlersThatMakeRecordsInDifferentWaysHearTheSameSenders(t *testing.T) {
	for _, network := range []string{"tcp", "udp"} {
		t.Run(network, func(t *testing.T) {
			ssetest.NoLeaks(t)
			address := ssetest.FreeAddress(t)
			handler := "sse {\nbackend listen " + network + "/" + address + "\nshare {\nreplay 100\nlinger 0\n}\n"
			server := ssetest.Start(t, ssetest.Site("handle /lines {\n"+handler+"}\n}\nhandle /ndjson {\n"+handler+"format ndjson\n}\n}"))
			for want := range 20 {
				ssetest.Wait(t, "sources to hear", func() bool { return slices.Equal(liveCounts(), []int{want, want}) })
				ssetest.Send(t, network, address, "[1]\n").Close()
			}
			for _, path := range []string{"/lines", "/ndjson"} {
				s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", path))
				if events := s.WaitEvents(20); len(events) != 20 || events[19].Data != "[1]" {
					t.Errorf("%s has %v", path, events)
				}
				s.Close()
			}
		})
	}
}

// liveCounts are the numbers of records that the sources have whose upstream is there, in order.
func liveCounts() []int {
	var counts []int
	for _, s := range sources.list() {
		s.mu.Lock()
		if s.state == isLive {
			counts = append(counts, int(s.committed))
		}
		s.mu.Unlock()
	}
	slices.Sort(counts)
	return counts
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
	if err := third.Wait(t); err != ErrEnded {
		t.Errorf("at the end: got %v", err)
	}
	if err := upstreamtest.Run(t, u, "").Wait(t); err != ErrEnded {
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
