package sse_test

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestStreamsBeyondTheLimitsAreRefusedBeforeAnUpstreamIsOpened(t *testing.T) {
	server, u := sharing(t, "max_streams 3\nmax_streams_per_client 2 {query.who}")
	client := ssetest.Client(t, "h1")
	refused := func(path string, status int) {
		t.Helper()
		s := ssetest.Get(t, client, server.URL("h1", path))
		if s.Status != status || s.Header.Get("Retry-After") == "" {
			t.Errorf("%s: status %d, Retry-After %q, want %d", path, s.Status, s.Header.Get("Retry-After"), status)
		}
		s.Close()
	}
	a1, a2 := get(t, server, "/?who=a"), get(t, server, "/?who=a")
	refused("/?who=a", http.StatusTooManyRequests)
	get(t, server, "/?who=b")
	refused("/?who=b", http.StatusServiceUnavailable)
	u.wait(t, 1)
	if len(u.joined()) != 1 {
		t.Errorf("%d upstream connections, want 1", len(u.joined()))
	}
	a1.Close()
	a2.Close()
	ssetest.Wait(t, "two streams less", func() bool { return counted(t, metrics.StreamsActive.WithLabelValues("")) == 1 })
	ssetest.Wait(t, "room", func() bool {
		s := ssetest.Get(t, client, server.URL("h1", "/?who=a"))
		return s.Status == http.StatusOK
	})
}

func TestAResponseThatIsNoStreamIsNotCounted(t *testing.T) {
	end := make(chan struct{})
	server := startSharing(t, site("max_streams 1", nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>")
		_ = http.NewResponseController(w).Flush()
		<-end
	})))
	defer close(end)
	for range 3 {
		response, err := ssetest.Client(t, "h1").Get(server.URL("h1", "/"))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("status %d, want 200", response.StatusCode)
		}
	}
}

func TestAClientThatHasNegotiatedForRecordsCountsAsAStream(t *testing.T) {
	server := startSharing(t, site("max_streams 1\naccept negotiate", nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		staying(r.URL.Query().Get("type"), "1\n")(w, r)
	})))
	client := ssetest.Client(t, "h1")
	for _, step := range []struct {
		kind, accept string
		status       int
	}{
		{"text/html", "text/html", http.StatusOK}, {"text/html", "text/html", http.StatusOK},
		{ndjson, ndjson, http.StatusOK}, {ndjson, ndjson, http.StatusServiceUnavailable}, {ndjson, "text/event-stream", http.StatusServiceUnavailable},
	} {
		s := ssetest.Get(t, client, server.URL("h1", "/?type="+step.kind), ssetest.With("Accept", step.accept))
		if s.Status != step.status {
			t.Errorf("%s for %s: status %d, want %d", step.kind, step.accept, s.Status, step.status)
		}
	}
}

func TestTheCountOfStreamsIsExactUnderRaces(t *testing.T) {
	u := newHub(t)
	server := startSharing(t, shared(u, "max_streams 7"))
	client := ssetest.Client(t, "h2c")
	const racers = 40
	for round := range 5 {
		var open atomic.Int64
		var racing sync.WaitGroup
		var mu sync.Mutex
		var bodies []func() error
		for range racers {
			racing.Go(func() {
				r, _ := http.NewRequest(http.MethodGet, server.URL("h2c", "/"), nil)
				response, err := client.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				bodies = append(bodies, response.Body.Close)
				mu.Unlock()
				if response.StatusCode == http.StatusOK {
					open.Add(1)
				}
			})
		}
		racing.Wait()
		if n := open.Load(); n != 7 {
			t.Errorf("%d streams were let in, want 7", n)
		}
		for _, leave := range bodies {
			_ = leave()
		}
		// A stream counts until its handler returns, after which the access log has its line.
		ssetest.Wait(t, "all to leave", func() bool {
			handled := 0
			for _, l := range server.Logs() {
				if l.Message == "handled request" {
					handled++
				}
			}
			return handled == (round+1)*racers
		})
	}
}

func TestAHandlerThatPanicsIsNotCountedForEver(t *testing.T) {
	next := nextHandler(t, func(http.ResponseWriter, *http.Request) { panic("the test says so") })
	server := startSharing(t, site("max_streams 1", next))
	for range 3 {
		s, err := ssetest.Client(t, "h1").Get(server.URL("h1", "/"))
		if err == nil {
			s.Body.Close()
			if s.StatusCode == http.StatusServiceUnavailable {
				t.Fatal("the panicked request still counts")
			}
		}
	}
}

func TestSourcesBeyondTheLimitAreRefusedAndOpenNoUpstream(t *testing.T) {
	server, u := sharing(t, "max_sources 2\nend over\nshare {query.key} {\nlinger 1h\n}")
	a, b := get(t, server, "/?key=a"), get(t, server, "/?key=b")
	u.wait(t, 2)
	refused := func() {
		t.Helper()
		s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/?key=c"))
		defer s.Close()
		if s.Status != http.StatusServiceUnavailable || s.Header.Get("Retry-After") == "" {
			t.Errorf("status %d, Retry-After %q, want 503", s.Status, s.Header.Get("Retry-After"))
		}
	}
	refused()
	waitOpen(t, get(t, server, "/?key=a")) // an upstream that is there is for all
	a.Close()
	refused() // it is still there
	if n := len(u.joined()); n != 2 {
		t.Errorf("%d upstream connections, want 2", n)
	}
	u.end(nil)
	_ = wholeBody(t, b)
	ssetest.Wait(t, "an upstream more, as two have ended", func() bool {
		s := get(t, server, "/?key=c")
		return s.Status == http.StatusOK
	})
}

func TestAnUnknownPlaceholderInAKeyIsAnErrorAndNotOneKeyForAll(t *testing.T) {
	for name, options := range map[string]string{"share": "share {path}{unknown.name}", "max_streams_per_client": "max_streams_per_client 9 {unknown.name}"} {
		t.Run(name, func(t *testing.T) {
			server, u := sharing(t, options)
			s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/"))
			if s.Status != http.StatusInternalServerError || len(u.joined()) > 0 {
				t.Errorf("status %d and %d upstream connections, want 500 and none", s.Status, len(u.joined()))
			}
			s.Close()
		})
	}
}
