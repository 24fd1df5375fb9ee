package sse_test

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestAPassedEventStreamHasHeartbeatsBetweenItsEventsOnly(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := newScript("text/event-stream")
	server := ssetest.Start(t, site("heartbeat 1ms", "reverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)))
	for _, protocol := range ssetest.Protocols {
		s := getOver(t, server, protocol, "/")
		s.WaitComments(2) // before the first event, too
		for _, piece := range []string{"\uFEFFdata: ", "1\r", "\n", "id: 1\n", "\r", "\n"} {
			before := len(s.Raw())
			upstream.say(piece)
			ssetest.Wait(t, "a piece to pass", func() bool { return strings.Contains(s.Raw()[before:], strings.Trim(piece, "\uFEFF")) })
		}
		if e := s.Next(0); e != (ssetest.Event{ID: "1", Type: "message", Data: "1", HasID: true}) {
			t.Errorf("%s: got %+v", protocol, e)
		}
		s.WaitComments(len(s.Comments()) + 2)
		if raw := strings.TrimLeft(s.Raw(), ":\n"); !strings.HasPrefix(raw, "data: 1\r\nid: 1\n\r\n:\n") {
			t.Errorf("%s: got %q", protocol, raw)
		}
		s.Close()
		<-upstream.left
	}
}

func TestAPassedEventStreamHasHeartbeatsAfterCommentsThatEndNoEvent(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := newScript("text/event-stream")
	server := ssetest.Start(t, site("heartbeat 1ms alive", "reverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)))
	s := get(t, server, "/")
	beats := func() int { return strings.Count(s.Raw(), "event: alive\n") }
	for _, piece := range []string{"retry: 5\n:\n", "data: 1\n\n: more\n", ": and\r\n"} {
		upstream.say(piece)
		ssetest.Wait(t, "a piece to pass", func() bool { return strings.Contains(s.Raw(), piece) })
		before := beats()
		ssetest.Wait(t, "heartbeats", func() bool { return beats() > before+1 })
	}
	upstream.say(":\nid: 2\n:\n")
	ssetest.Wait(t, "an id to pass", func() bool { return strings.Contains(s.Raw(), "id: 2\n:\n") })
	before := beats()
	time.Sleep(20 * time.Millisecond) // for many heartbeats, if there were any
	upstream.say("data: 2\n\n")
	ssetest.Wait(t, "the event", func() bool { return strings.Contains(s.Raw(), "id: 2\n:\ndata: 2\n\n") })
	ssetest.Wait(t, "heartbeats", func() bool { return beats() > before })
}

func TestAPassedEventStreamThatIsCountedOrCompressedHasNoHeartbeats(t *testing.T) {
	ssetest.NoLeaks(t)
	event := "data: 1\n\n"
	for name, value := range map[string]string{"Content-Length": fmt.Sprint(2 * len(event)), "Content-Encoding": "br"} {
		t.Run(name, func(t *testing.T) {
			upstream := newScript("text/event-stream")
			upstream.header.Set(name, value)
			server := ssetest.Start(t, site("heartbeat 1ms", "reverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)))
			s := get(t, server, "/")
			upstream.say(event)
			s.WaitEvents(1)
			time.Sleep(50 * time.Millisecond) // for many heartbeats, if there were any
			upstream.say(event)
			close(upstream.pieces)
			if raw := wholeBody(t, s); raw != event+event {
				t.Errorf("got %q", raw)
			}
		})
	}
}

func TestAPassedEventStreamHasHeartbeatsUnderEncode(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := newScript("text/event-stream")
	server := ssetest.Start(t, ssetest.Site("encode gzip\nsse {\nheartbeat 1ms\n}\nreverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)))
	r, _ := http.NewRequest("GET", server.URL("h1", "/"), nil)
	r.Header.Set("Accept-Encoding", "gzip")
	response, err := ssetest.Client(t, "h1").Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	upstream.say("data: 1\n\n")
	plain, err := decompress("gzip", response.Body)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(plain)
	event := false
	for lines.Scan() {
		switch lines.Text() {
		case "data: 1":
			event = true
			time.AfterFunc(5*time.Second, func() { _ = response.Body.Close() }) // ends the test if there are none
		case ":":
			if event {
				return
			}
		}
	}
	t.Errorf("no heartbeat: %v", lines.Err())
}
