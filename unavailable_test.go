package sse_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// A stream that says that it is unavailable, and comes to its clean end.
func wantRetry(t *testing.T, s *ssetest.Stream, status int, least time.Duration) {
	t.Helper()
	raw := wholeBody(t, s)
	state := s.State()
	want := fmt.Sprintf("event: sse-error\ndata: {\"reason\":\"unavailable\",\"status\":%d}\n\n", status)
	if s.Status != 200 || s.Header.Get("Content-Type") != "text/event-stream" || s.Header.Get("X-Page") != "" || !strings.HasPrefix(raw, ":\nretry: ") || !strings.HasSuffix(raw, want) {
		t.Errorf("got %v, header %v, want %q", s, s.Header, want)
	}
	if state.Retry < least || state.Retry > 2*least {
		t.Errorf("retry after %v, want it within %v and twice that", state.Retry, least)
	}
}

func TestAnUnavailableStreamTellsEventSourceToComeBack(t *testing.T) {
	ssetest.NoLeaks(t)
	page := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		var status int
		_, _ = fmt.Sscan(r.URL.RawQuery, &status)
		w.Header().Set("X-Page", "1")
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(status)
		fmt.Fprint(w, strings.Repeat("<p>sorry", 9999))
	})
	held := ssetest.Upstream(t, staying(ndjson, "1\n"))
	const option = "on_unavailable retry\n"
	server := ssetest.Start(t, withAdmin+ssetest.Site(logging+"header X-Site 1\n"+
		route("/page", option, "reverse_proxy "+page)+
		route("/refused", option+"retry 7s", "reverse_proxy 127.0.0.1:1")+
		route("/recheck", option+"recheck 1m {\nrespond 504\n}", "reverse_proxy "+held)+
		route("/backend", option+"backend dial 127.0.0.1:1", "")+
		route("/full", option+"max_streams 1\nbackend http http://"+held, "")+
		route("/status", "", "reverse_proxy 127.0.0.1:1")+
		"handle_errors {\nrespond \"sorry\"\n}"))
	for _, protocol := range ssetest.Protocols {
		client := ssetest.Client(t, protocol)
		get := func(path string, options ...func(*http.Request)) *ssetest.Stream {
			return ssetest.Get(t, client, server.URL(protocol, path), options...)
		}
		for _, status := range []int{429, 502, 503, 504} {
			wantRetry(t, get(fmt.Sprintf("/page?%d", status)), status, time.Minute)
		}
		for _, status := range []int{200, 404, 500} {
			if s := get(fmt.Sprintf("/page?%d", status)); !strings.HasPrefix(wholeBody(t, s), "<p>") || s.Status != status {
				t.Errorf("%d: got %v", status, s)
			}
		}
		wantRetry(t, get("/refused"), 502, 7*time.Second)
		wantRetry(t, get("/backend"), 502, 3*time.Second)
		wantRetry(t, get("/recheck"), 504, 3*time.Second)
		open := get("/full?" + protocol)
		open.WaitEvents(1)
		const refused = `streams_refused_total{reason="max_streams"}`
		before := scrape(t, server)[refused]
		wantRetry(t, get("/full"), 503, 5*time.Second)
		if after := scrape(t, server)[refused]; after != before+1 {
			t.Errorf("%v streams are counted as refused, want one more than %v", after, before)
		}
		open.Close()
		waitAccessLog(server, "/full?"+protocol)
		for _, other := range []*ssetest.Stream{
			get("/refused", ssetest.With("Accept", "*/*")), get("/status"),
		} {
			if _ = other.WaitEnd(); other.Status != 502 || other.Raw() != "sorry" {
				t.Errorf("got %v", other)
			}
		}
		if head := get("/refused", func(r *http.Request) { r.Method = http.MethodHead }); head.Status != 200 || wholeBody(t, head) != "" {
			t.Errorf("HEAD: got %v", head)
		}
	}
	for _, line := range []string{"stream refused", "upstream failed"} {
		server.WaitLog(line, func(l ssetest.Log) bool { return l.Level == "warn" && l.Message == line })
	}
}

func TestTheRestOfAnUnavailableUpstreamsAnswerIsOfNoInterest(t *testing.T) {
	ssetest.NoLeaks(t)
	page := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusServiceUnavailable)
		for r.URL.RawQuery == "endless" {
			if _, err := fmt.Fprint(w, strings.Repeat("<p>sorry", 999)); err != nil {
				return
			}
		}
		fmt.Fprint(w, "<p>")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	server := ssetest.Start(t, site("on_unavailable retry", "reverse_proxy "+page))
	for _, protocol := range ssetest.Protocols {
		for _, body := range []string{"endless", "broken"} {
			wantRetry(t, ssetest.Get(t, ssetest.Client(t, protocol), server.URL(protocol, "/?"+body)), 503, 3*time.Second)
		}
	}
}

func TestAnUnavailableStreamEndsAlthoughTheResponseThatSaysSoDoesNot(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	server := ssetest.Start(t, site("on_unavailable retry", "reverse_proxy "+upstream))
	var streams []*ssetest.Stream
	for _, protocol := range ssetest.Protocols {
		streams = append(streams, getOver(t, server, protocol, "/"))
	}
	for _, s := range streams {
		wantRetry(t, s, http.StatusServiceUnavailable, 3*time.Second)
	}
	wantQuiet(t, server)
}

func TestAStreamThatHasOpenedTellsEventSourceToComeBackIfItIsUnavailable(t *testing.T) {
	ssetest.NoLeaks(t)
	release := make(chan struct{})
	upstream := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		<-release
		var status int
		_, _ = fmt.Sscan(r.URL.RawQuery, &status)
		if status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "60")
		}
		w.WriteHeader(status)
	})
	const options = "on_unavailable retry\nopen_after 1ms\nretry 7s\n"
	server := ssetest.Start(t, ssetest.Site(route("/next", options, "reverse_proxy "+upstream)+
		route("/backend", options+"backend http http://"+upstream+"?{query}", "")))
	type answer struct {
		stream *ssetest.Stream
		status int
		least  time.Duration // of the retry in the end; 0: there is none
	}
	var answers []answer
	for _, protocol := range ssetest.Protocols {
		for _, path := range []string{"/next", "/backend"} {
			for _, status := range []int{404, 429, 500, 502, 503, 504} {
				url := server.URL(protocol, fmt.Sprintf("%s?%d", path, status))
				least := 7 * time.Second
				switch {
				case status == http.StatusNotFound || status == http.StatusInternalServerError:
					least = 0
				case status == http.StatusTooManyRequests && path == "/next":
					least = time.Minute
				}
				answers = append(answers, answer{ssetest.Get(t, ssetest.Client(t, protocol), url), status, least},
					answer{ssetest.Get(t, ssetest.Client(t, protocol), url, ssetest.With("Accept", "*/*")), status, 0})
			}
		}
	}
	for _, a := range answers {
		a.stream.WaitComments(1)
	}
	close(release)
	for _, a := range answers {
		raw := brokenBody(t, a.stream)
		want := fmt.Sprintf("event: sse-error\ndata: {\"reason\":\"upstream_error\",\"status\":%d}\n\n", a.status)
		retries := strings.Count(raw, "retry: ")
		if !strings.HasSuffix(raw, want) || retries != map[bool]int{true: 2, false: 1}[a.least > 0] {
			t.Errorf("%d: got %q, want %q after %v", a.status, raw, want, a.least)
		}
		if got := a.stream.State().Retry; a.least > 0 && (got < a.least || got > 2*a.least) {
			t.Errorf("%d: retry after %v, want it within %v and twice that", a.status, got, a.least)
		}
	}
}
