package sse_test

import (
	"slices"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

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
	for _, s := range share.List() {
		if s.State == "live" {
			counts = append(counts, int(s.Records))
		}
	}
	slices.Sort(counts)
	return counts
}
