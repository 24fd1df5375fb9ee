package sse_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestTheLogSaysWhyAResponsePassesUnchanged(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		if r.URL.Path == "/missing" {
			w.WriteHeader(http.StatusNotFound)
		}
	})
	server := ssetest.Start(t, ssetest.Site("sse {\nname site\n}\nreverse_proxy "+upstream))
	for _, c := range []struct{ path, accept, want string }{
		{"/missing?type=application/x-ndjson", "text/event-stream", "its status is not 200"},
		{"/page?type=text/html", "text/event-stream", "not one of records"},
		{"/document?type=application/json", "*/*", "set a format"},
		{"/events?type=text/event-stream", "text/event-stream", "an event stream already"},
	} {
		_ = ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", c.path), ssetest.With("Accept", c.accept)).WaitEnd()
		path, _, _ := strings.Cut(c.path, "?")
		line := server.WaitLog("why "+path+" passes", func(l ssetest.Log) bool {
			uri, _ := l.Fields["uri"].(string)
			return l.Message == "response passes unchanged" && strings.HasPrefix(uri, path+"?")
		})
		if why, _ := line.Fields["reason"].(string); line.Level != "debug" || !strings.Contains(why, c.want) || line.Fields["name"] != "site" {
			t.Errorf("%s: %s %v, want %s", path, line.Level, line.Fields, c.want)
		}
	}
}

func TestATemplateWithoutItsBracesIsToldOf(t *testing.T) {
	ssetest.NoLeaks(t)
	server := ssetest.Start(t, ssetest.Site("sse {\ndata {record.text}\nevent record.type\n}"))
	line := server.WaitLog("the warning", func(l ssetest.Log) bool { return strings.Contains(l.Message, "write {record.type}") })
	if line.Level != "warn" || line.Fields["option"] != "event" {
		t.Errorf("%s: %v", line.Level, line.Fields)
	}
	for _, l := range server.Logs() {
		if strings.Contains(l.Message, "{record.text}") {
			t.Errorf("a template with its braces is told of, too: %s", l.Message)
		}
	}
}
