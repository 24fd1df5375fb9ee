package sse_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestAHeartbeatCanBeAnEventThatAPageWatchesFor(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream, passed := newScript(ndjson), newScript("text/event-stream")
	server := ssetest.Start(t, site("heartbeat 5ms alive", fmt.Sprintf("reverse_proxy /passed %s\nreverse_proxy %s",
		ssetest.Upstream(t, passed.ServeHTTP), ssetest.Upstream(t, upstream.ServeHTTP))))
	for _, path := range []string{"/?", "/passed?"} {
		u, record := upstream, "1\n"
		if path == "/passed?" {
			u, record = passed, "data: 1\n\n"
		}
		for _, protocol := range ssetest.Protocols {
			s := getOver(t, server, protocol, path+protocol)
			if e := s.WaitEvents(2)[1]; e.Type != "alive" || e.Data != "" || e.HasID {
				t.Errorf("%s over %s: heartbeat %+v", path, protocol, e)
			}
			u.say(record)
			ssetest.Wait(t, "the record", func() bool { return strings.Contains(s.Raw(), "data: 1\n\n") })
			s.Close()
			<-u.left
			if access := waitAccessLog(server, path+protocol); path == "/?" && access.Fields["events"] != 1.0 {
				t.Errorf("%s over %s: %v events are logged, want the upstream's only", path, protocol, access.Fields["events"])
			}
		}
	}
}

func TestAnUpstreamThatIsSilentForTooLongHasFailed(t *testing.T) {
	ssetest.NoLeaks(t)
	silent := ssetest.Upstream(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	records := ssetest.Upstream(t, staying(ndjson, "1\n"))
	events := ssetest.Upstream(t, staying("text/event-stream", "data: 1\n\n"))
	document := newScript("text/html")
	// An upstream that answers has the time to do so on a busy machine.
	server := ssetest.Start(t, ssetest.Site(logging+
		route("/silent", "upstream_timeout 50ms", "reverse_proxy "+silent)+
		route("/records", "upstream_timeout 2s", "reverse_proxy "+records)+
		route("/events", "upstream_timeout 2s", "reverse_proxy "+events)+
		route("/document", "upstream_timeout 2s", "reverse_proxy "+ssetest.Upstream(t, document.ServeHTTP))+
		route("/backend", "upstream_timeout 2s\nbackend http http://"+records, "")+
		route("/silent-backend", "upstream_timeout 50ms\nbackend http http://"+silent, "")))
	page := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/document")) // before the streams: it is silent for longer
	type answer struct {
		status int
		raw    string
	}
	streams := make(map[string]*ssetest.Stream)
	answers := map[string]answer{
		"/silent":         {http.StatusGatewayTimeout, ""},
		"/silent-backend": {http.StatusGatewayTimeout, ""},
		"/records":        {200, ":\ndata: 1\n\nevent: sse-error\ndata: {\"reason\":\"upstream_timeout\"}\n\n"},
		"/backend":        {200, ":\ndata: 1\n\nevent: sse-error\ndata: {\"reason\":\"upstream_timeout\"}\n\n"},
		"/events":         {200, "data: 1\n\n"},
	}
	for path := range answers {
		for _, protocol := range ssetest.Protocols {
			asked := path + "?" + protocol
			streams[asked] = ssetest.Get(t, ssetest.Client(t, protocol), server.URL(protocol, asked))
		}
	}
	for asked, s := range streams {
		path, _, _ := strings.Cut(asked, "?")
		want, err := answers[path], s.WaitEnd()
		if s.Status != want.status || s.Raw() != want.raw || (err == nil) != (want.status != 200) {
			t.Errorf("%s: got %v, %v", asked, s, err)
		}
		if access := waitAccessLog(server, asked); want.status == 200 && access.Fields["end_reason"] != "upstream_error" {
			t.Errorf("%s: access log: %v", asked, access.Fields)
		}
	}
	document.say("<p>")
	close(document.pieces)
	if raw := wholeBody(t, page); raw != "<p>" {
		t.Errorf("a response that is no stream: got %q", raw)
	}
}

func TestAnUpstreamThatSendsBlankLinesIsNotSilent(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", ndjson)
		for range 30 { // for longer than the timeout
			_, _ = io.WriteString(w, "\n")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(100 * time.Millisecond)
		}
		_, _ = io.WriteString(w, "1\n")
	})
	server := ssetest.Start(t, site("upstream_timeout 2s", "reverse_proxy "+upstream))
	if raw := wholeBody(t, get(t, server, "/")); !strings.HasSuffix(raw, ":\ndata: 1\n\n") {
		t.Errorf("got %q", raw)
	}
}

func TestAnUpstreamIsNotSilentWhileItsClientSends(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := ssetest.Upstream(t, saying(ndjson, "1\n"))
	server := ssetest.Start(t, site("upstream_timeout 2s", "reverse_proxy "+upstream))
	var answers sync.WaitGroup
	for _, protocol := range ssetest.Protocols {
		client := ssetest.Client(t, protocol)
		body, upload := io.Pipe()
		go func() {
			for range 5 {
				_, _ = io.WriteString(upload, "x")
				time.Sleep(500 * time.Millisecond)
			}
			_ = upload.Close()
		}()
		answers.Go(func() {
			response, err := client.Post(server.URL(protocol, "/"), "", body)
			if err != nil {
				t.Error(err)
				return
			}
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Errorf("%s: status %d", protocol, response.StatusCode)
			}
		})
	}
	answers.Wait()
}

func TestASharedUpstreamThatIsSilentForTooLongIsOpenedAgain(t *testing.T) {
	for name, next := range map[string]bool{"backend": false, "next handler": true} {
		t.Run(name, func(t *testing.T) {
			u := newHub(t)
			config := shared(u, "upstream_timeout 100ms\nshare")
			if next {
				config = site("upstream_timeout 100ms\nshare", nextHandler(t, u.ServeHTTP))
			}
			server := startSharing(t, config)
			s := get(t, server, "/")
			u.wait(t, 1)
			u.say("1\n")
			u.waitJoin(t, 2)
			u.wait(t, 1)
			u.say("2\n")
			wantEvents(t, s, "1 2")
			if strings.Contains(s.Raw(), "sse-error") {
				t.Errorf("got %q", s.Raw())
			}
		})
	}
}
