package sse_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

const eventStream = "text/event-stream"

func TestAnUpstreamsEventStreamIsReadAsABrowserReadsIt(t *testing.T) {
	for _, test := range []struct{ name, options, contentType, text, want string }{
		{"it is UTF-8, whatever it is said to be", "", eventStream + "; charset=windows-1252", "data: \u00e9\n\n", "data: \u00e9\n\n"},
		{"an unfinished event is dropped", "", eventStream, "data: 1\n\nid: 2\ndata: 2\n", "data: 1\n\n"},
		{"an empty id takes the last one back", "", eventStream, "id: 1\ndata: a\n\nid\ndata: b\n\n", "id: 1\ndata: a\n\nid:\ndata: b\n\n"},
		{"an id without an event is passed on", "", eventStream, "data: a\n\nid: 7\n\n", "data: a\n\nid: 7\n\n"},
		{"and so is one that takes the last one back", "", eventStream, "id: 1\ndata: a\n\nid\n\n", "id: 1\ndata: a\n\nid:\n\n"},
		{"where the config gives ids, it is not", "id {seq}", eventStream, "data: a\n\nid: 7\n\n", "id: 1\ndata: a\n\n"},
		{"nor is one that cannot come back", "", eventStream, "data: a\n\nid: sse-end\n\n", "data: a\n\n"},
		{"unless the config gives ids", "id {seq}", eventStream, "id: 1\ndata: a\n\nid\ndata: b\n\n", "id: 1\ndata: a\n\nid: 2\ndata: b\n\n"},
		{"the last retry of a read is passed on, without a blank line", "", eventStream, "retry: 5\n\ndata: a\nretry: 07\nretry: x\ndata: b\n\n", "data: a\ndata: b\n\nretry: 7\n"},
		{"control events are only ours", "", eventStream, "event: sse-error\ndata: 1\n\nevent: sse-gap\ndata: 2\n\nevent: sse-gaps\ndata: 3\n\n", "data: 1\n\ndata: 2\n\nevent: sse-gaps\ndata: 3\n\n"},
		{"in a template, too", "event {record.e}", eventStream, "data: {\"e\":\"sse-gap\"}\n\n", "data: {\"e\":\"sse-gap\"}\n\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := framesOf(t, "format event_stream\n"+test.options, test.contentType, test.text); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestTheConfigsRetryStaysBesideTheUpstreams(t *testing.T) {
	ssetest.NoLeaks(t)
	server := ssetest.Start(t, site("format event_stream\nretry 1s", "reverse_proxy "+ssetest.Upstream(t, saying(eventStream, "retry: 5\ndata: 1\n\n"))))
	if raw := wholeBody(t, get(t, server, "/")); raw != "retry: 1000\n:\ndata: 1\n\n" {
		t.Errorf("got %q", raw)
	}
}

func TestAGapAfterAnEmptyIDNamesNoOlderOne(t *testing.T) {
	got := framesOf(t, "format event_stream\nmax_record_size 4B", eventStream, "id: 1\ndata: a\n\nid\ndata: b\n\ndata: too long\n\n")
	if !strings.HasSuffix(got, "event: sse-gap\ndata: {\"reason\":\"record_too_large\"}\n\n") {
		t.Errorf("got %q", got)
	}
}

func TestAnUpstreamsRetryReachesAllWhoShareIt(t *testing.T) {
	server, u := sharing(t, "format event_stream")
	first := get(t, server, "/")
	waitOpen(t, first)
	u.wait(t, 1)
	u.say("retry: 5\n")
	ssetest.Wait(t, "the upstream's retry", func() bool { return strings.HasSuffix(first.Raw(), "retry: 5\n") })
	later := get(t, server, "/")
	ssetest.Wait(t, "the upstream's retry of before", func() bool { return strings.HasSuffix(later.Raw(), "\n\nretry: 5\n") })
	u.say("retry: 5\ndata: 1\n\n")
	for _, s := range []*ssetest.Stream{first, later} {
		s.WaitEvents(1)
		if n := strings.Count(s.Raw(), "retry:"); n != 1 {
			t.Errorf("told %d times: %q", n, s.Raw())
		}
	}
}

func TestAReconnectDoesNotAskForAnIDThatTheUpstreamHasTakenBack(t *testing.T) {
	server, u := sharing(t, "format event_stream")
	s := get(t, server, "/")
	u.wait(t, 1)
	u.say("id: 1\ndata: a\n\nid\ndata: b\n\n")
	s.WaitEvents(2)
	u.end(nil)
	if again := u.waitJoin(t, 2); again.lastID != "" {
		t.Errorf("asked for what comes after %q", again.lastID)
	}
}

// MCP servers answer 406 to who does not take both.
func TestAnEventStreamIsAskedForAsMCPServersWantIt(t *testing.T) {
	ssetest.NoLeaks(t)
	asked := make(chan string, 1)
	next := nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Get("Accept")
		saying(eventStream, "data: 1\n\n")(w, r)
	})
	server := ssetest.Start(t, site("format event_stream", next))
	if raw := wholeBody(t, get(t, server, "/")); raw != ":\ndata: 1\n\n" {
		t.Errorf("it is not converted: %q", raw)
	}
	if accept := <-asked; accept != "text/event-stream, application/json" {
		t.Errorf("asked with Accept: %s", accept)
	}
}
