package sse_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/ratelog"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

const ndjson = "application/x-ndjson"

func TestEachRecordReachesTheClientBeforeTheNextIsSent(t *testing.T) {
	ssetest.NoLeaks(t)
	records := ssetest.Records(5)
	length := len(strings.Join(records, "\n")) + 1

	chunked, counted, http2, php := newScript(ndjson), newScript(ndjson), newScript(ndjson), newScript(ndjson)
	counted.header.Set("Content-Length", fmt.Sprint(length+1))
	php.unflushed = true
	server := ssetest.Start(t, site("", fmt.Sprintf("reverse_proxy /chunked %s\nreverse_proxy /counted %s\nreverse_proxy /h2c h2c://%s\nhandle /php {\n%s\n}",
		ssetest.Upstream(t, chunked.ServeHTTP), ssetest.Upstream(t, counted.ServeHTTP), ssetest.UpstreamH2C(t, http2.ServeHTTP), nextHandler(t, php.ServeHTTP))))

	for path, upstream := range map[string]*script{"/chunked": chunked, "/counted": counted, "/h2c": http2, "/php": php} {
		for _, protocol := range ssetest.Protocols {
			t.Run(path[1:]+" over "+protocol, func(t *testing.T) {
				s := getOver(t, server, protocol, path)
				for _, record := range records {
					upstream.say(record + "\n")
					if e := s.Next(0); e != (ssetest.Event{Type: "message", Data: record}) {
						t.Fatalf("got %+v, want data %s", e, record)
					}
				}
				s.Close()
				<-upstream.left
			})
		}
	}
	for _, u := range []*script{chunked, counted, http2, php} {
		close(u.pieces)
	}
}

func TestRecordsThatComeInPiecesAreWhole(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := newScript(ndjson)
	server := ssetest.Start(t, site("", "reverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)))
	s := get(t, server, "/")
	upstream.say(`{"name":"J`, "\xc3", "\xb6", "rg\"}\r", "\n{\"a\":1}\n{\"b\"", ":2}\n")
	var got []string
	for _, e := range s.WaitEvents(3) {
		got = append(got, e.Data)
	}
	if want := []string{`{"name":"Jörg"}`, `{"a":1}`, `{"b":2}`}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	close(upstream.pieces)
	wholeBody(t, s)
}

func TestHeadersAndOpeningCommentComeBeforeTheFirstRecord(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := newScript(ndjson)
	server := ssetest.Start(t, site("retry 3s", "reverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)))
	for _, protocol := range ssetest.Protocols {
		s := getOver(t, server, protocol, "/")
		s.WaitComments(1)
		if raw := s.Raw(); raw != "retry: 3000\n:\n" {
			t.Errorf("%s: stream opens with %q", protocol, raw)
		}
	}
}

func TestFramesOfAConfig(t *testing.T) {
	ssetest.NoLeaks(t)
	for _, test := range []struct{ name, options, contentType, text, frames string }{
		{"lines", "", "text/plain", "a\r\nb\n", "data: a\n\ndata: b\n\n"},
		{"no content type", "", "", "a\nb\n", "data: a\n\ndata: b\n\n"},
		{"last record without its LF", "", ndjson, "1\n2", "data: 1\n\ndata: 2\n\n"},
		{"blank line", "", ndjson, "1\n\n\r\n2\n", "data: 1\n\ndata: 2\n\n:\n"},
		{"no record", "", ndjson, "", ""},
		{"json_seq by content type", "", "application/geo+json-seq", "\x1e{\"a\":\n1}\n\x1e2\n", "data: {\"a\":\ndata: 1}\n\ndata: 2\n\n"},
		{"json", "format json", "application/json", "[{\"a\": 1,\n \"b\": \"x y\"}, 2]\n{}", "data: {\"a\":1,\"b\":\"x y\"}\n\ndata: 2\n\ndata: {}\n\n"},
		{"event_stream", "format event_stream", "text/event-stream", "id: 1\nevent: x\ndata: a\ndata: b\n\n: hi\n\nid\ndata\n\n", "id: 1\nevent: x\ndata: a\ndata: b\n\ndata:\n\n:\n"},
		{"event_stream with fields of the config's", "format event_stream\nevent {record.t}", "text/event-stream", "id: 1\nevent: x\ndata: {\"t\":\"y\"}\n\n", "id: 1\nevent: y\ndata: {\"t\":\"y\"}\n\n"},
		{"BOM", "", ndjson, "\ufeff{}\n", "data: {}\n\n"},
		{"invalid UTF-8", "", "text/plain", "a\xffb\n", "data: a\ufffdb\n\n"},
		{"charset by content type", "", "text/plain; charset=windows-1252", "\x80 \xfc\n", "data: € ü\n\n"},
		{"charset by config", "charset shift_jis", "text/plain; charset=utf-8", "\x83\x8d\n", "data: ロ\n\n"},

		{"data", `data "{record.user.name}: {record.items.0.n} {record.none}{record.null}{record.b} {record.a\.b} {seq}"`, "text/plain",
			`{"user":{"name":"J\u00f6\nrg"},"items":[{"n":1.50}],"null":null,"b":[true, {}],"a.b":"dot"}` + "\n", "data: Jö\ndata: rg: 1.50 [true, {}] dot 1\n\n"},
		{"seq counts what is filtered, not what is blank", "id {seq}\nwhere `record.a`", ndjson, "{\"a\":true}\n\n{\"a\":false}\n{\"a\":true}\n", "id: 1\ndata: {\"a\":true}\n\nid: 3\ndata: {\"a\":true}\n\n:\n"},
		{"seq counts what is too large", "id {seq}\nmax_record_size 4B", "text/plain", "a\nbbbbb\nc\n", "id: 1\ndata: a\n\nevent: sse-gap\ndata: {\"reason\":\"record_too_large\",\"last_event_id\":\"1\"}\n\nid: 3\ndata: c\n\n"},
		{"request placeholders", `event {query.t}
			data "{host} {header.X-A} {record} {unknown.name} {query.brace}"`, "text/plain", "r\n", "event: greeting\ndata: localhost h r {unknown.name} {record}\n\n"},
		{"request placeholders that are not UTF-8", `event {query.bad}
			id {query.bad}
			data {query.bad}
			where "{query.bad} == record"`, "text/plain", "a\xffb\n", "id: a\ufffdb\nevent: a\ufffdb\ndata: a\ufffdb\n\n"},
		{"where with a placeholder", `where "record.k == {query.t}"`, ndjson, "{\"k\":\"greeting\"}\n{\"k\":\"other\"}\n", "data: {\"k\":\"greeting\"}\n\n"},
		{"where with code in a placeholder", `where "record.k == {query.code}"`, ndjson, "{\"k\":\"x\"}\n", ""},
		{"where with text records", "where `record.startsWith('a') && seq > 1`", "text/plain", "a1\na2\nb\n", "data: a2\n\n"},
		{"where fails for a record", `where "record.level >= 2"`, ndjson, "{}\nnot json\n{\"level\":2}\n", "data: {\"level\":2}\n\n"},

		{"fields that cannot be carried", `id {record.id}
			event {record.e}`, ndjson, `{"id":"a\nb","e":"x\ry"}` + "\n" + `{"id":"a\u0000","e":""}` + "\n", `data: {"id":"a\nb","e":"x\ry"}` + "\n\n" + `data: {"id":"a\u0000","e":""}` + "\n\n"},
		{"nothing can be forged", "data {record.t}", ndjson, `{"t":"x\n\nid: 1\r\revent: y\r\n: c\n"}` + "\n", "data: x\ndata:\ndata: id: 1\ndata:\ndata: event: y\ndata: : c\ndata:\n\n"},
		{"empty data", "data {record.t}", ndjson, "{}\n", "data:\n\n"},

		{"on_invalid pass", "", ndjson, "no\n1\n", "data: no\n\ndata: 1\n\n"},
		{"on_invalid skip", "on_invalid skip", ndjson, "no\n1\n", "data: 1\n\n"},
		{"on_invalid error", "on_invalid error", ndjson, "1\nno\n2\n", "data: 1\n\nevent: sse-error\ndata: {\"reason\":\"invalid_record\"}\n\n"},
		{"on_invalid without JSON", "on_invalid error", "text/plain", "no\n", "data: no\n\n"},

		{"max_record_size truncate", "max_record_size 4B truncate", "text/plain", "abcd\nabcde\nabcü\n", "data: abcd\n\ndata: abcd\n\ndata: abc\n\n"},
		{"max_record_size error", "max_record_size 4B error\nend done", "text/plain", "abcd\nabcde\nx\n", "data: abcd\n\nevent: sse-error\ndata: {\"reason\":\"record_too_large\"}\n\n"},

		{"end", "end done", ndjson, "1\n", "data: 1\n\nevent: done\ndata: done\n\n"},
		{"end with data", "end done `{\"ok\":true}`", ndjson, "1\n", "data: 1\n\nevent: done\ndata: {\"ok\":true}\n\n"},
		{"end and stop", "end done bye stop", ndjson, "1\n", "data: 1\n\nid: sse-end\nevent: done\ndata: bye\n\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := framesOf(t, test.options, test.contentType, test.text, func(r *http.Request) {
				r.URL.RawQuery = "t=greeting&brace=%7Brecord%7D&bad=a%ffb&code=x'%20||%20true%20||%20'"
				r.Header.Set("X-A", "h")
			})
			if got != test.frames {
				t.Errorf("got  %q\nwant %q", got, test.frames)
			}
		})
	}
}

func TestReconnectingAfterTheEndIsAnsweredWithNoContent(t *testing.T) {
	ssetest.NoLeaks(t)
	var asked atomic.Bool
	server := ssetest.Start(t, site("end done stop", nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Store(true)
		saying(ndjson, "1\n")(w, r)
	})))
	s := get(t, server, "/")
	wholeBody(t, s)
	for _, again := range []*ssetest.Stream{
		ssetest.Get(t, ssetest.Client(t, "h2"), server.URL("h2", "/"), ssetest.LastEventID(s.State().LastEventID)),
		ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/?lastEventId="+s.State().LastEventID)),
	} {
		if again.Status != http.StatusNoContent {
			t.Errorf("got %v, want 204", again)
		}
	}
	asked.Store(false)
	if wholeBody(t, get(t, server, "/", ssetest.LastEventID("41"))); !asked.Load() {
		t.Error("another id is not the end")
	}
}

func TestAcceptDecides(t *testing.T) {
	ssetest.NoLeaks(t)
	const stream, refused, original = "stream", "406", "original"
	asked := make(chan http.Header, 1)
	next := nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Clone()
		w.Header().Add("Vary", "Origin")
		saying(ndjson, "1\n")(w, r)
	})
	for mode, want := range map[string]map[string]string{
		"standard":   {"": stream, "*/*": stream, "text/*": stream, "text/event-stream;q=0.1": stream, "application/json": refused, "*/*, text/event-stream;q=0": refused, "text/html": refused},
		"strict":     {"": refused, "*/*": refused, "text/*": refused, "text/event-stream;q=0.1": stream, "text/event-stream, */*": stream, "text/event-stream;q=0, */*": refused},
		"negotiate":  {"": stream, "*/*": stream, "application/json": original, "text/event-stream": stream, "text/event-stream;q=0, */*": original},
		"off":        {"": stream, "*/*": stream, "application/json": stream, "text/event-stream;q=0": stream},
		"strict 415": {"*/*": "415"},
	} {
		t.Run(mode, func(t *testing.T) {
			server := ssetest.Start(t, site("accept "+mode, next))
			for value, outcome := range want {
				s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/"), func(r *http.Request) {
					if r.Header.Del("Accept"); value != "" {
						r.Header.Set("Accept", value)
					}
					r.Header.Set("Last-Event-ID", "17")
				})
				raw, got := wholeBody(t, s), fmt.Sprint(s.Status)
				var header http.Header
				if s.Status == http.StatusOK {
					header = <-asked
					got = original
					if s.Header.Get("Content-Type") == "text/event-stream" {
						got = stream
					}
				}
				if got != outcome {
					t.Errorf("accept %s, Accept: %q: got %s, want %s", mode, value, got, outcome)
				}
				if vary := strings.Join(s.Header.Values("Vary"), ", "); !strings.Contains(vary, "Accept") || s.Status == 200 && !strings.Contains(vary, "Origin") {
					t.Errorf("accept %s, Accept: %q: Vary is %q", mode, value, vary)
				}
				switch got {
				case stream:
					if header.Get("Accept-Encoding") != "identity" || header.Get("Last-Event-ID") != "17" || !strings.HasPrefix(header.Get("Accept"), ndjson) {
						t.Errorf("next handler is asked with %v", header)
					}
				case original:
					if raw != "1\n" || s.Header.Get("Content-Type") != ndjson || header.Get("Accept") != value {
						t.Errorf("the upstream's response is not unchanged: %v, %v; it was asked with %v", s, s.Header, header)
					}
				}
			}
		})
	}
	if len(asked) > 0 {
		t.Error("the next handler was asked for a request that was refused")
	}
}

func TestAnUpstreamThatDiesInMidRecordIsAnError(t *testing.T) {
	ssetest.NoLeaks(t)
	chunked, counted := newScript(ndjson), newScript(ndjson)
	counted.header.Set("Content-Length", "1000")
	server := ssetest.Start(t, site("end done stop", fmt.Sprintf("reverse_proxy /chunked %s\nreverse_proxy /counted %s",
		ssetest.Upstream(t, chunked.ServeHTTP), ssetest.Upstream(t, counted.ServeHTTP))))
	began := time.Now()
	streams := make(map[string]*ssetest.Stream)
	for i := range 3 * len(ssetest.Protocols) {
		protocol := ssetest.Protocols[i%len(ssetest.Protocols)]
		for path, upstream := range map[string]*script{"/chunked": chunked, "/counted": counted} {
			path += fmt.Sprintf("?%s-%d", protocol, i)
			streams[path] = getOver(t, server, protocol, path)
			upstream.say("{\"a\":1}\n{\"b\":", abort)
		}
	}
	for path, s := range streams {
		if raw := brokenBody(t, s); raw != ":\ndata: {\"a\":1}\n\nevent: sse-error\ndata: {\"reason\":\"upstream_error\"}\n\n" {
			t.Errorf("%s: got %q", path, raw)
		}
		access := waitAccessLog(server, path)
		if access.Fields["end_reason"] != "upstream_error" || access.Fields["events"] != 1.0 || access.Fields["bytes"] != float64(len(s.Raw())) || access.Fields["status"] != 200.0 {
			t.Errorf("access log: %v", access.Fields)
		}
	}
	warnings := 0
	for _, l := range server.Logs() {
		if l.Logger == "http.handlers.sse" && l.Level == "warn" {
			warnings++
		}
	}
	if most := 2 * (ratelog.WarningsAtOnce + int(time.Since(began)/time.Second)); warnings < 1 || warnings > most { // the site is on two servers
		t.Errorf("%d warnings of ours for %d failures, want at most %d", warnings, len(streams), most)
	}
}

func TestAnUpstreamThatFailsBeforeItsHeadersIsAnErrorOfTheServer(t *testing.T) {
	ssetest.NoLeaks(t)
	silent := ssetest.Upstream(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	dies := ssetest.Upstream(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	server := ssetest.Start(t, ssetest.Site(fmt.Sprintf(`sse
		reverse_proxy /refused 127.0.0.1:1
		reverse_proxy /dies %s
		reverse_proxy /silent %s {
			transport http {
				response_header_timeout 50ms
			}
		}
		handle_errors {
			header Content-Type text/html
			respond "sorry: {err.status_code}"
		}`, dies, silent)))
	for path, want := range map[string]int{"/refused": 502, "/dies": 502, "/silent": 504} {
		s := ssetest.Get(t, ssetest.Client(t, "h2"), server.URL("h2", path))
		if raw := wholeBody(t, s); s.Status != want || raw != fmt.Sprint("sorry: ", want) || s.Header.Get("Content-Type") != "text/html" {
			t.Errorf("%s: got %v, %v", path, s, s.Header)
		}
	}
}

func TestASilentStreamIsKeptAliveByComments(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := newScript(ndjson)
	server := ssetest.Start(t, site("heartbeat 20ms", "reverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)))
	for _, protocol := range ssetest.Protocols {
		s := getOver(t, server, protocol, "/")
		s.WaitComments(4)
		upstream.say("{\"half\":")
		s.WaitComments(8)
		upstream.say("1}\n")
		if e := s.Next(0); e.Data != `{"half":1}` {
			t.Errorf("%s: got %+v", protocol, e)
		}
		s.Close()
		<-upstream.left
	}
}

func TestMaxDurationEndsAStream(t *testing.T) {
	ssetest.NoLeaks(t)
	left := make(chan struct{}, len(ssetest.Protocols))
	server := ssetest.Start(t, site("max_duration 2s 1s", "reverse_proxy "+ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		staying(ndjson, "1\n{\"partial\":")(w, r)
		left <- struct{}{}
	})))
	streams := make(map[string]*ssetest.Stream)
	for _, protocol := range ssetest.Protocols {
		streams[protocol] = getOver(t, server, protocol, "/?"+protocol)
	}
	for protocol, s := range streams {
		if raw := wholeBody(t, s); raw != ":\ndata: 1\n\n" {
			t.Errorf("%s: got %q", protocol, raw)
		}
		<-left
		if access := waitAccessLog(server, "/?"+protocol); access.Fields["end_reason"] != "max_duration" || access.Fields["events"] != 1.0 {
			t.Errorf("access log: %v", access.Fields)
		}
	}
	wantQuiet(t, server)
}

func TestEveryStreamsEndIsLogged(t *testing.T) {
	ssetest.NoLeaks(t)
	server := ssetest.Start(t, site("", "reverse_proxy "+ssetest.Upstream(t, saying(ndjson, "1\n2\n"))))
	s := get(t, server, "/stream")
	raw := wholeBody(t, s)
	access := waitAccessLog(server, "/stream")
	if access.Fields["end_reason"] != "upstream_end" || access.Fields["events"] != 2.0 || access.Fields["bytes"] != float64(len(raw)) {
		t.Errorf("access log: %v", access.Fields)
	}
	line := server.WaitLog("the stream's end", func(l ssetest.Log) bool { return l.Logger == "http.handlers.sse" && l.Message == "stream ended" })
	if line.Level != "debug" || line.Fields["end_reason"] != "upstream_end" || line.Fields["events"] != 2.0 {
		t.Errorf("log line: %v", line.Fields)
	}
	wantQuiet(t, server)
}

func TestRecordsThatAreTooLargeAreLogged(t *testing.T) {
	ssetest.NoLeaks(t)
	for _, policy := range []string{"skip", "truncate", "error"} {
		t.Run(policy, func(t *testing.T) {
			server := ssetest.Start(t, site("max_record_size 3B "+policy, "reverse_proxy "+ssetest.Upstream(t, saying(ndjson, "12345\n"))))
			_ = get(t, server, "/").WaitEnd()
			server.WaitLog("a record that is too large", func(l ssetest.Log) bool {
				return l.Logger == "http.handlers.sse" && l.Level == "warn" && strings.Contains(fmt.Sprint(l.Fields), "larger than max_record_size")
			})
		})
	}
}

func TestHandlersAroundAndWithin(t *testing.T) {
	ssetest.NoLeaks(t)
	address := ssetest.Upstream(t, saying(ndjson, "1\n"))
	const frames = ":\ndata: 1\n\n"
	for name, directives := range map[string]string{
		"handle":          "sse\nhandle /* {\nreverse_proxy " + address + "\n}",
		"route":           "route {\nsse\nreverse_proxy " + address + "\n}",
		"handle_path":     "sse /api/*\nhandle_path /api/* {\nreverse_proxy " + address + "\n}",
		"in handle":       "handle {\nsse /api/*\nreverse_proxy " + address + "\n}",
		"two in a row":    "route {\nsse {\nretry 9s\n}\nsse\nreverse_proxy " + address + "\n}",
		"header":          "header -X-Accel-Buffering\nsse\nreverse_proxy " + address,
		"handle_response": "sse\nreverse_proxy " + address + " {\n@ok status 200\nhandle_response @ok {\ncopy_response\n}\n}",
	} {
		t.Run(name, func(t *testing.T) {
			server := ssetest.Start(t, ssetest.Site(directives))
			for _, protocol := range []string{"h1", "h2"} {
				if raw := wholeBody(t, getOver(t, server, protocol, "/api/x")); raw != frames {
					t.Errorf("got %q", raw)
				}
			}
		})
	}
}
