package sse_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestWhatAnUpstreamForbidsCachesStays(t *testing.T) {
	ssetest.NoLeaks(t)
	next := nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Cache-Control"] = r.Header["X-Cache-Control"]
		w.Header()["Vary"] = []string{"Origin", "Cookie"}
		saying(ndjson, "1\n")(w, r)
	})
	server := ssetest.Start(t, site("", next))
	for given, want := range map[string]string{
		"": "no-cache", "max-age=60, public": "no-cache", "No-Transform,private, max-age=0, no-store": "no-cache, no-store, private, no-transform", "private": "no-cache, private",
	} {
		s := get(t, server, "/", ssetest.With("X-Cache-Control", given))
		if got := s.Header["Cache-Control"]; len(got) != 1 || got[0] != want {
			t.Errorf("%q becomes %q, want %q", given, got, want)
		}
		if vary := s.Header["Vary"]; len(vary) != 1 || vary[0] != "Origin, Cookie, Accept" {
			t.Errorf("Vary is %q", vary)
		}
	}
}

func TestOPTIONSTRACEAndCONNECTOpenNoBackend(t *testing.T) {
	server, u := sharing(t, "")
	for method, want := range map[string]int{"OPTIONS": 204, "TRACE": 405, "CONNECT": 405} {
		for _, protocol := range ssetest.Protocols {
			if method == "CONNECT" && protocol != "h1" {
				continue // it is of another form there
			}
			response, text := do(t, ssetest.Client(t, protocol), method, server.URL(protocol, "/"), "")
			if allow := response.Header.Get("Allow"); response.StatusCode != want || !strings.Contains(allow, "GET, HEAD, POST") || text != "" {
				t.Errorf("%s over %s: status %d, Allow %q, %q", method, protocol, response.StatusCode, allow, text)
			}
		}
	}
	if n := len(u.joined()); n > 0 {
		t.Errorf("%d upstreams were opened", n)
	}
}

func TestAHandlerAroundThatBuffersTheStreamIsNamedInTheLog(t *testing.T) {
	ssetest.NoLeaks(t)
	next := "in_process " + strings.TrimPrefix(nextHandler(t, saying(ndjson, "1\n")), "in_process ")
	server := ssetest.Start(t, ssetest.Site("route {\ntemplates {\nmime text/event-stream\n}\nsse\n"+next+"\n}"))
	for name, around := range map[string]string{
		"templates": "templates {\nmime text/event-stream\n}",
		"intercept": "intercept {\n@all status 2xx\nhandle_response @all {\nrespond hi\n}\n}",
	} {
		server.Reload(ssetest.Site("route {\n" + around + "\nsse\n" + next + "\n}"))
		before := len(server.Logs())
		_, _ = do(t, ssetest.Client(t, "h1"), http.MethodGet, server.URL("h1", "/"), "")
		told := false
		for _, l := range server.Logs()[before:] {
			told = told || l.Level == "error" && strings.Contains(l.Message, "response is buffered")
		}
		if !told {
			t.Errorf("nothing is said of %s", name)
		}
	}
}
