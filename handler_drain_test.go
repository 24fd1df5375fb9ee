package sse_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// streamEnds holds the times at which streams ended, and their last bytes.
type streamEnds struct {
	mu      sync.Mutex
	start   time.Time
	after   []time.Duration
	retries map[time.Duration]bool
	ended   sync.WaitGroup
}

// begin starts the time measurement.
func (e *streamEnds) begin() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.start = time.Now()
	e.retries = make(map[time.Duration]bool)
}

// open opens n streams over these protocols in turn, and waits for their ends.
func (e *streamEnds) open(t *testing.T, protocols []string, url func(protocol string) string, n int) {
	clients := make(map[string]*http.Client)
	for i := range n {
		protocol := protocols[i%len(protocols)]
		if clients[protocol] == nil {
			clients[protocol] = ssetest.Client(t, protocol)
		}
		s := ssetest.Get(t, clients[protocol], url(protocol))
		s.WaitComments(1)
		e.ended.Go(func() {
			<-s.Done()
			e.mu.Lock()
			defer e.mu.Unlock()
			e.after = append(e.after, time.Since(e.start))
			if err := s.Err(); err != nil {
				t.Errorf("%s: a stream was cut off: %v", protocol, err)
			}
			if state := s.State(); state.HasRetry {
				e.retries[state.Retry] = true
			}
		})
	}
}

// check fails the test unless the streams have ended spread over the drain, each with its own retry.
func (e *streamEnds) check(t *testing.T, n int, drain time.Duration) {
	t.Helper()
	e.ended.Wait()
	if len(e.after) != n {
		t.Fatalf("%d streams have ended, want %d", len(e.after), n)
	}
	tenths := make(map[time.Duration]int)
	for _, after := range e.after {
		tenths[after/(drain/10)]++
	}
	for tenth, count := range tenths {
		if count > n/2 {
			t.Errorf("%d of %d streams ended within one tenth of the drain, the %d.", count, n, tenth)
		}
	}
	if len(e.retries) < n/2 {
		t.Errorf("%d streams were told only %d different reconnection times", n, len(e.retries))
	}
}

// waitReady waits until a new config answers: a connection that comes in the moment of a reload may be closed.
func waitReady(t *testing.T, server *ssetest.Server) {
	t.Helper()
	ssetest.Wait(t, "the new config to answer", func() bool {
		response, err := ssetest.Client(t, "h1").Get(server.URL("h1", "/ready"))
		if err == nil {
			_ = response.Body.Close()
		}
		return err == nil && response.StatusCode == http.StatusOK
	})
}

func TestAReloadEndsStreamsSpreadOutAndServesTheNewConfig(t *testing.T) {
	ssetest.NoLeaks(t)
	const n, drain = 200, 4 * time.Second
	upstream := newScript(ndjson)
	address := ssetest.Upstream(t, upstream.ServeHTTP)
	server := ssetest.Start(t, site("retry 1s\ndrain 4s", "reverse_proxy "+address))
	var ends streamEnds
	ends.open(t, ssetest.Protocols, func(protocol string) string { return server.URL(protocol, "/") }, n)

	ends.begin()
	server.Reload(site("retry 1s\nevent new", "respond /ready ok\nreverse_proxy "+address))
	waitReady(t, server)
	s := get(t, server, "/")
	for range n + 1 { // all hear it, the old ones too
		if len(s.Events()) > 0 {
			break
		}
		upstream.say("1\n")
	}
	ends.check(t, n, drain)
	if longest := ends.after[n-1]; longest > drain+10*time.Second {
		t.Errorf("the last stream ended after %v", longest)
	}
	if err := s.Err(); err != ssetest.ErrOpen {
		t.Errorf("a stream of the new config has ended: %v", err)
	}
	s.Close()
	server.Stop()
	wantQuiet(t, server)
}

func TestAReloadKeepsStreamsThatAreToBeKept(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream, other := newScript(ndjson), newScript(ndjson)
	server := ssetest.Start(t, site("on_reload keep\nevent old\ndrain 1ms", "reverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)))
	streams := make(map[string]*ssetest.Stream)
	for _, protocol := range ssetest.Protocols {
		streams[protocol] = getOver(t, server, protocol, "/")
		streams[protocol].WaitComments(1)
	}
	server.Reload(site("on_reload keep\nevent new", "respond /ready ok\nreverse_proxy "+ssetest.Upstream(t, other.ServeHTTP)))
	waitReady(t, server)
	s := get(t, server, "/")
	other.say("1\n")
	if e := s.Next(0); e.Type != "new" {
		t.Errorf("got %+v from the new config", e)
	}
	s.Close()
	time.Sleep(50 * time.Millisecond) // longer than the drain that they are not to have
	close(upstream.pieces)
	for protocol, s := range streams {
		if raw := wholeBody(t, s); raw != ":\n" {
			t.Errorf("%s: got %q", protocol, raw)
		}
	}
}

// After the grace period, Caddy closes the HTTP/3 connections of the old config, and leaves the others open.
func TestAReloadEndsStreamsBeforeTheGracePeriodCutsThemOff(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := newScript(ndjson)
	server := ssetest.Start(t, "{\ngrace_period 5s\n}\n"+site("drain 1h", "reverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)))
	s := getOver(t, server, "h3", "/")
	s.WaitComments(1)
	server.Reload(ssetest.Site("respond new"))
	if err := s.WaitEnd(); err != nil || !s.State().HasRetry {
		t.Errorf("the stream ended with %v: %v", err, s)
	}
}

func TestAReloadDoesNotTouchWhatIsNoStream(t *testing.T) {
	ssetest.NoLeaks(t)
	asked, answer := make(chan struct{}), make(chan string)
	server := ssetest.Start(t, site("drain 1ms", nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		saying("text/html", <-answer)(w, r)
	})))
	got := make(chan string)
	go func() {
		response, text := do(t, ssetest.Client(t, "h1"), "GET", server.URL("h1", "/"), "")
		got <- fmt.Sprint(response.StatusCode, text)
	}()
	<-asked
	server.Reload(ssetest.Site("respond new"))
	time.Sleep(20 * time.Millisecond)
	answer <- "old"
	if text := <-got; text != "200old" {
		t.Errorf("got %q", text)
	}
}

func TestAReloadDoesNotWaitForAClientThatDoesNotRead(t *testing.T) {
	ssetest.NoLeaks(t)
	record := strings.Repeat("x", 10_000) + "\n"
	server := ssetest.Start(t, site("drain 100ms\nstall_timeout off\nheartbeat 10ms", "reverse_proxy "+ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		for r.Context().Err() == nil {
			_, _ = w.Write([]byte(record))
		}
	})))
	streams := make(map[string]*ssetest.Stream)
	for _, protocol := range ssetest.Protocols {
		s := getOver(t, server, protocol, "/?"+protocol)
		s.WaitEvents(1)
		s.Pause()
		streams[protocol] = s
	}
	ssetest.Wait(t, "all streams to be stuck", func() bool {
		stuck := 0
		for _, s := range stream.All() {
			if s.WritingFor() > 100*time.Millisecond {
				stuck++
			}
		}
		return stuck == len(ssetest.Protocols)
	})
	server.Reload(ssetest.Site("respond new"))
	ssetest.Wait(t, "the streams to end", func() bool { return len(stream.All()) == 0 })
	for _, protocol := range ssetest.Protocols {
		if access := waitAccessLog(server, "/?"+protocol); access.Fields["end_reason"] != "shutdown" {
			t.Errorf("%s ended by %v", protocol, access.Fields["end_reason"])
		}
		// The client has a part of the last record, which is not an event. No later byte may make it one.
		s := streams[protocol]
		s.Resume()
		if err := s.WaitEnd(); err == nil || strings.Contains(s.Raw(), "retry") {
			raw := s.Raw()
			t.Errorf("%s: the stream ended with %v and %q", protocol, err, raw[max(0, len(raw)-100):])
		}
	}
}

// Clients that send requests with other methods do not repeat them by themselves.
func TestAReloadLetsAnswersOfOtherMethodsComeToTheirEnd(t *testing.T) {
	ssetest.NoLeaks(t)
	release := make(chan struct{})
	upstream := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		format := "%s\n"
		w.Header().Set("Content-Type", ndjson)
		if r.URL.Path == "/passed" {
			format = "data: %s\n\n"
			w.Header().Set("Content-Type", "text/event-stream")
		}
		fmt.Fprintf(w, format, "1")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-release:
			fmt.Fprintf(w, format, "2")
		case <-r.Context().Done():
		}
	})
	next := "reverse_proxy " + upstream
	server := ssetest.Start(t, ssetest.Site("handle /cut {\nsse {\ndrain 1ms spread\non_reload end\n}\n"+next+"\n}\nhandle {\nsse {\ndrain 1ms\n}\n"+next+"\n}"))
	kept, cut := make(map[string]*ssetest.Stream), make(map[string]*ssetest.Stream)
	post := func(r *http.Request) { r.Method = "POST" }
	for _, protocol := range ssetest.Protocols {
		for _, path := range []string{"/converted", "/passed"} {
			kept[protocol+path] = getOver(t, server, protocol, path, post)
			kept[protocol+path].WaitEvents(1)
		}
		cut[protocol] = getOver(t, server, protocol, "/cut", post)
		cut[protocol].WaitEvents(1)
	}
	got := getOver(t, server, "h1", "/")
	got.WaitEvents(1)
	server.Reload(ssetest.Site("respond new"))
	if err := got.WaitEnd(); err != nil || !got.State().HasRetry {
		t.Errorf("GET ended with %v: %v", err, got)
	}
	for protocol, s := range cut {
		if err := s.WaitEnd(); err == nil || s.State().HasRetry {
			t.Errorf("%s: a POST that is cut ended with %v: %v", protocol, err, s)
		}
	}
	close(release)
	for which, s := range kept {
		if err := s.WaitEnd(); err != nil || texts(s.Events()) != "1 2" {
			t.Errorf("%s ended with %v: %v", which, err, s)
		}
	}
}
