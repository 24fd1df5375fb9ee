package sse_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

const (
	// As Ollama says that an answer is complete, or has failed, and as OpenAI's clients expect it.
	endsAsOllama  = "format ndjson\nend_when record.done\nend \"\" [DONE]\n"
	failsAsOllama = "error_when has(record.error)\n"
)

func TestTheRecordThatEndWhenSelectsIsTheLast(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := newScript(ndjson)
	server := ssetest.Start(t, site(endsAsOllama, "reverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)))
	for _, protocol := range ssetest.Protocols {
		path := "/?" + protocol
		s := getOver(t, server, protocol, path)
		upstream.say("{\"n\":1}\nno JSON\n{\"n\":2,\"done\":true}\n{\"n\":3}\n")
		if raw := wholeBody(t, s); raw != ":\ndata: {\"n\":1}\n\ndata: no JSON\n\ndata: {\"n\":2,\"done\":true}\n\ndata: [DONE]\n\n" {
			t.Errorf("%s: got %q", protocol, raw)
		}
		<-upstream.left
		if access := waitAccessLog(server, path); access.Fields["end_reason"] != "upstream_end" || access.Fields["events"] != 4.0 {
			t.Errorf("access log: %v", access.Fields)
		}
	}
	wantQuiet(t, server)
}

func TestTheLastRecordIsHeldBackIfWhereSaysSo(t *testing.T) {
	if got := framesOf(t, "where !has(record.done)\n"+endsAsOllama, ndjson, "{\"n\":1}\n{\"done\":true}\n{\"n\":2}\n"); got != "data: {\"n\":1}\n\ndata: [DONE]\n\n" {
		t.Errorf("got %q", got)
	}
}

func TestALastRecordIsFoundInParsedLinesAndWithoutItsLineEnd(t *testing.T) {
	if got := framesOf(t, "parse logfmt\ndata {line}\nend_when record.last == \"yes\" || seq == 9\nend bye", "text/plain", "last=no\nlast=yes"); got != "data: last=no\n\ndata: last=yes\n\nevent: bye\ndata: bye\n\n" {
		t.Errorf("got %q", got)
	}
}

func TestTheRecordThatErrorWhenSelectsIsTheErrorEvent(t *testing.T) {
	ssetest.NoLeaks(t)
	for options, want := range map[string]string{
		"error \"\"\n": "data: {\"error\":\"no memory\"}\n\n",
		"":             "event: sse-error\ndata: {\"error\":\"no memory\"}\n\n",
		`error failed "{reason} {status} {other}"`: "event: failed\ndata: upstream_error 502 {other}\n\n",
	} {
		t.Run(options, func(t *testing.T) {
			upstream := newScript(ndjson)
			server := ssetest.Start(t, strings.Replace(site(endsAsOllama+failsAsOllama+"where !has(record.error)\n"+options, "reverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)), "sse {", "encode gzip\nsse {", 1))
			streams := make(map[string]*ssetest.Stream)
			for _, protocol := range ssetest.Protocols {
				path := "/?" + protocol
				streams[path] = getOver(t, server, protocol, path)
				upstream.say("{\"n\":1}\nno JSON\n{\"error\":\"no memory\"}\n{\"n\":2}\n")
				<-upstream.left
			}
			for path, s := range streams {
				if raw := brokenBody(t, s); raw != ":\ndata: {\"n\":1}\n\ndata: no JSON\n\n"+want {
					t.Errorf("%s: got %q", path, raw)
				}
				if access := waitAccessLog(server, path); access.Fields["end_reason"] != "upstream_error" || access.Fields["status"] != 200.0 {
					t.Errorf("access log: %v", access.Fields)
				}
			}
			lines := ours(server, "upstream failed")
			if len(lines) == 0 || !strings.Contains(lines[0].Fields["error"].(string), "error_when") || strings.Contains(lines[0].Fields["error"].(string), "memory") {
				t.Errorf("logged: %v", lines)
			}
		})
	}
}

func TestARecordThatIsLastAndAnErrorIsAnError(t *testing.T) {
	upstream := ssetest.Upstream(t, saying(ndjson, "{\"done\":true,\"error\":1}\n"))
	server := ssetest.Start(t, site(endsAsOllama+failsAsOllama, "reverse_proxy "+upstream))
	if raw := brokenBody(t, get(t, server, "/")); raw != ":\nevent: sse-error\ndata: {\"done\":true,\"error\":1}\n\n" {
		t.Errorf("got %q", raw)
	}
}

func TestAnErrorOfEachKindHasTheTypeAndDataOfTheConfig(t *testing.T) {
	ssetest.NoLeaks(t)
	const options = "error \"\" `{\"error\":{\"message\":\"{reason}\",\"code\":{status}}}`\n"
	for _, c := range []struct {
		name, options, said string
		reason              string
	}{
		{"breaks off", "", "1\n" + abort, "upstream_error"},
		{"record too large", "max_record_size 2 error", "1\n12345\n", "record_too_large"},
		{"invalid record", "format ndjson\non_invalid error", "1\nno JSON\n", "invalid_record"},
	} {
		t.Run(c.name, func(t *testing.T) {
			upstream := newScript(ndjson)
			server := ssetest.Start(t, site(options+c.options, "reverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)))
			s := get(t, server, "/")
			said, cut := strings.CutSuffix(c.said, abort)
			upstream.say(said)
			if cut {
				upstream.say(abort)
			}
			want := ":\ndata: 1\n\ndata: {\"error\":{\"message\":\"" + c.reason + "\",\"code\":502}}\n\n"
			if raw := brokenBody(t, s); raw != want {
				t.Errorf("got %q, want %q", raw, want)
			}
		})
	}
}

func TestAnEndWithoutATypeCanStopItsClients(t *testing.T) {
	upstream := ssetest.Upstream(t, saying(ndjson, "1\n"))
	server := ssetest.Start(t, site("end \"\" [DONE] stop", "reverse_proxy "+upstream))
	s := get(t, server, "/")
	if raw := wholeBody(t, s); raw != ":\ndata: 1\n\nid: sse-end\ndata: [DONE]\n\n" {
		t.Errorf("got %q", raw)
	}
	if back := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/"), ssetest.LastEventID("sse-end")); back.Status != http.StatusNoContent {
		t.Errorf("got %v", back)
	}
}

func TestAnEndWithoutATypeOrDataIsAnEmptyEvent(t *testing.T) {
	if got := framesOf(t, `end ""`, ndjson, "1\n"); got != "data: 1\n\ndata:\n\n" {
		t.Errorf("got %q", got)
	}
}

func TestASharedUpstreamEndsForAllWithTheRecordThatEndWhenSelects(t *testing.T) {
	for name, options := range map[string]string{"for all": "", "for each client": "data {record}{query.x}\n"} {
		t.Run(name, func(t *testing.T) {
			server, u := sharing(t, "end_when record == 2\n"+options+"end over\nshare")
			first, second := get(t, server, "/"), get(t, server, "/?x=")
			_, opened := waitOpen(t, first), waitOpen(t, second)
			u.wait(t, 1)
			u.say("1\n2\n3\n")
			for _, s := range []*ssetest.Stream{first, second, get(t, server, "/?x=", ssetest.LastEventID(opened))} {
				if body := wholeBody(t, s); texts(s.Events()) != "1 2 over" {
					t.Errorf("got %q", body)
				}
			}
			u.wait(t, 0)
			if n := len(u.joined()); n != 1 {
				t.Errorf("%d upstream connections, want 1", n)
			}
			again := get(t, server, "/")
			u.wait(t, 1)
			u.end(nil) // without that record it is an end, too
			if wholeBody(t, again); texts(again.Events()) != "over" {
				t.Errorf("got %q", again.Raw())
			}
		})
	}
}

func TestASharedUpstreamThatSaysThatItHasFailedIsAskedAgainForThoseThatReturn(t *testing.T) {
	for name, options := range map[string]string{"for all": "", "for each client": "data {record}{query.x}\n"} {
		t.Run(name, func(t *testing.T) {
			server, u := sharing(t, "error_when record == \"no\"\n"+options+"share")
			first, second := get(t, server, "/?x="), get(t, server, "/")
			_, opened := waitOpen(t, first), waitOpen(t, second)
			u.wait(t, 1)
			u.say("1\n\"no\"\n2\n")
			for _, s := range []*ssetest.Stream{first, second} {
				if body := brokenBody(t, s); !strings.HasSuffix(body, "data: 1\n\nevent: sse-error\ndata: \"no\"\n\n") {
					t.Errorf("got %q", body)
				}
			}
			u.wait(t, 0)
			returned := get(t, server, "/", ssetest.LastEventID(opened))
			u.wait(t, 1)
			u.say("3\n")
			wantEvents(t, returned, "1 3")
			if strings.Contains(returned.Raw(), "sse-gap") {
				t.Errorf("got %q", returned.Raw())
			}
		})
	}
}
