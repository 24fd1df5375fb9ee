//go:build integration

package clients_test

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestAnEventSourceStaysAwayAfterItsSessionIsRevoked(t *testing.T) {
	const interval = time.Second
	var revoked atomic.Bool
	var passed, refused atomic.Int64
	auth := ssetest.Upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		if revoked.Load() {
			refused.Add(1)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		passed.Add(1)
	})
	upstream := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/page" {
			servePage(w)
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		_, _ = io.WriteString(w, "1\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	server := ssetest.Start(t, ssetest.Site(fmt.Sprintf(`handle /page {
	reverse_proxy %[1]s
}
handle /events {
	sse {
		retry 100ms
		recheck %[3]s {
			forward_auth %[2]s {
				uri /
			}
		}
	}
	reverse_proxy %[1]s
}`, upstream, auth, interval)))
	shown := make(chan report, 1)
	chromium := nodeDriver(t)
	go func() {
		shown <- chromium.do(job{ID: 1, Client: "vectors", Base: server.URL("h1", ""), Path: "/events", Types: []string{"message"}, Patience: (2 * patience).Milliseconds()})
	}()
	ssetest.Wait(t, "the stream to be checked twice", func() bool { return passed.Load() >= 3 && len(stream.List()) == 1 })
	revoked.Store(true)
	said := <-shown
	if said.Error != "" || len(said.Events) != 1 || said.Events[0].Data != "1" {
		t.Errorf("the page has seen %+v, and says %q, want one event and an EventSource that is closed for good", said.Events, said.Error)
	}
	if n := refused.Load(); n != 2 {
		t.Errorf("%d requests were refused, want the check of the stream, and the return of the EventSource", n)
	}
	time.Sleep(10 * interval / 4) // for those that do not stay away
	if n := refused.Load(); n != 2 {
		t.Errorf("the EventSource has come back %d times more", n-2)
	}
}
