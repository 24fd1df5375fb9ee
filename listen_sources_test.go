package sse_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// Two sources on one socket must each get all of its connections and datagrams.
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

// liveCounts returns the record counts of the sources with an open upstream, in order.
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

// The socket must be open even without a client.
func TestASocketOfSendersStaysOpenAfterAStreamsEnd(t *testing.T) {
	for name, test := range map[string]struct{ options, last string }{
		"end_when":        {"end_when record == \"last\"\nend over", "last\n"},
		"max_record_size": {"max_record_size 4 error", "too large\n"},
	} {
		t.Run(name, func(t *testing.T) {
			ssetest.NoLeaks(t)
			address := ssetest.FreeAddress(t)
			options := "sse {\nbackend listen tcp/" + address + "\n" + test.options + "\n}\n"
			server := ssetest.Start(t, ssetest.Site("handle /a {\n"+options+"}\nhandle {\n"+options+"}"))
			for range 3 {
				s := get(t, server, "/")
				waitOpen(t, s)
				id := theSource(t).ID
				ssetest.Send(t, "tcp", address, test.last)
				_ = s.WaitEnd()
				ssetest.Wait(t, "another source in its place", func() bool {
					list := share.List()
					return len(list) == 1 && list[0].ID != id && list[0].State == share.IsLive
				})
			}
		})
	}
}

// The failure of one sender does not affect the others.
func TestARecordThatSaysThatASenderHasFailedCutsNoSenderOff(t *testing.T) {
	for name, options := range map[string]string{"for all": "", "for each client": "data {record}{query.x}\n"} {
		t.Run(name, func(t *testing.T) {
			ssetest.NoLeaks(t)
			address := ssetest.FreeAddress(t)
			server := ssetest.Start(t, site("error_when record==\"no\"\n"+options+"backend listen "+address, ""))
			streams := []*ssetest.Stream{get(t, server, "/?x="), get(t, server, "/")}
			sender := ssetest.Send(t, "tcp", address, "1\n")
			for _, s := range streams {
				wantEvents(t, s, "1")
			}
			id, source := streams[0].Events()[0].ID, theSource(t).ID
			failures := counted(t, metrics.Failures.WithLabelValues("", "listen"))
			fmt.Fprint(sender, "2\nno\n3\n")
			for _, s := range streams {
				if body := brokenBody(t, s); !strings.HasSuffix(body, "data: 2\n\nevent: sse-error\ndata: no\n\n") {
					t.Errorf("got %q", body)
				}
			}
			returned := get(t, server, "/", ssetest.LastEventID(id))
			wantEvents(t, returned, "2 3")
			fmt.Fprint(sender, "4\n")
			wantEvents(t, returned, "2 3 4")
			if strings.Contains(returned.Raw(), "sse-") || theSource(t).ID != source {
				t.Errorf("got %q from source %s, which was %s", returned.Raw(), theSource(t).ID, source)
			}
			if n := counted(t, metrics.Failures.WithLabelValues("", "listen")) - failures; n != 1 {
				t.Errorf("%v failures are counted, want 1", n)
			}
		})
	}
}
