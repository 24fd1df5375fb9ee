package sse_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// `drain 1m spread` ends the first of these streams within a second or so. `drain 1m wait` ends none for a minute.
func TestAReloadThatWaitsLetsStreamsComeToTheirOwnEnd(t *testing.T) {
	ssetest.NoLeaks(t)
	const streams = 60
	release := make(chan struct{})
	upstream := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", ndjson)
		fmt.Fprintln(w, "1")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-release:
			fmt.Fprintln(w, "2")
		case <-r.Context().Done():
		}
	})
	server := ssetest.Start(t, ssetest.Site("handle /spread {\nsse {\ndrain 1m spread\n}\nreverse_proxy "+upstream+
		"\n}\nhandle {\nsse {\ndrain 1m wait\n}\nreverse_proxy "+upstream+"\n}"))
	var spread, waiting []*ssetest.Stream
	for i := range streams {
		protocol := ssetest.Protocols[i%len(ssetest.Protocols)]
		spread = append(spread, getOver(t, server, protocol, "/spread"))
		waiting = append(waiting, getOver(t, server, protocol, "/"))
	}
	for i := range streams {
		spread[i].WaitEvents(1)
		waiting[i].WaitEvents(1)
	}
	server.Reload(ssetest.Site("respond new"))
	ended := func(list []*ssetest.Stream) (n int) {
		for _, s := range list {
			select {
			case <-s.Done():
				n++
			default:
			}
		}
		return n
	}
	ssetest.Wait(t, "the first of the spread streams to end", func() bool { return ended(spread) >= 5 })
	if n := ended(waiting); n > 0 {
		t.Errorf("%d streams have ended that were to be waited for", n)
	}
	close(release)
	for _, s := range waiting {
		if err := s.WaitEnd(); err != nil || texts(s.Events()) != "1 2" {
			t.Fatalf("a stream that was waited for ended with %v: %v", err, s)
		}
	}
	for _, s := range spread {
		s.Close()
	}
}
