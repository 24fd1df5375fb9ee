package sse_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestLinesHaveFieldsForTemplatesAndWhere(t *testing.T) {
	for _, c := range []struct{ name, options, contentType, text, want string }{
		{"csv", "parse csv kind - n\nevent {record.kind}\nid {record.n}\nwhere `record.n != \"2\"`", "text/plain", "a,x,1\nb,x,2\r\n\nc,\"x\",\"3\"\"\"\r\n",
			"id: 1\nevent: a\ndata: {\"kind\":\"a\",\"n\":\"1\"}\n\nid: 3\"\nevent: c\ndata: {\"kind\":\"c\",\"n\":\"3\\\"\"}\n\n:\n"},
		{"regexp", "parse regexp `^(?P<level>\\w+): (?P<text>.*)$`\nevent {record.level}\ndata {record.text}", "text/plain", "warn: it's late\n", "event: warn\ndata: it's late\n\n"},
		{"logfmt", "parse logfmt\ndata {record.msg}|{line}", "text/plain", "level=info msg=\"a\\nb\"\n", "data: a\ndata: b|level=info msg=\"a\\nb\"\n\n"},
		{"syslog", "parse syslog\ndata {record.severity|json}{record.procid|json}{record.message|html}", "text/plain", "<34>1 - h a - - - <b>\n", "data: 2null&lt;b&gt;\n\n"},
		{"any charset", "parse csv a b", "text/plain; charset=iso-8859-1", "\xe9,\xff\n", "data: {\"a\":\"é\",\"b\":\"ÿ\"}\n\n"},
		{"bytes that are not valid", "parse csv a b", "text/plain; charset=utf-8", "\xff,2\n", "data: {\"a\":\"\uFFFD\",\"b\":\"2\"}\n\n"},
		{"a byte order mark", "parse csv a b", "text/plain", "\ufeff1,2\n", "data: {\"a\":\"1\",\"b\":\"2\"}\n\n"},
		{"a last line without its end", "parse csv a", "text/plain", "1\n2", "data: {\"a\":\"1\"}\n\ndata: {\"a\":\"2\"}\n\n"},
		{"a line that is cut", "parse csv a b\nmax_record_size 5 truncate", "text/plain", "1,23456789\n", "data: {\"a\":\"1\",\"b\":\"234\"}\n\n"},
		{"lines that do not fit pass", "parse csv a b", "text/plain", "1\n2,3\n{\"a\":1}\n", "data: 1\n\ndata: {\"a\":\"2\",\"b\":\"3\"}\n\ndata: {\"a\":1}\n\n"},
		{"lines that do not fit are skipped", "parse csv a b\non_invalid skip", "text/plain", "1\n2,3\n{\"a\":1}\n", "data: {\"a\":\"2\",\"b\":\"3\"}\n\n"},
		{"a line that does not fit ends the stream", "parse csv a b\non_invalid error", "text/plain", "2,3\n1\n4,5\n",
			"data: {\"a\":\"2\",\"b\":\"3\"}\n\nevent: sse-error\ndata: {\"reason\":\"invalid_record\"}\n\n"},
		{"JSON is not parsed", "parse csv a", ndjson, "{\"a\":1}\n[2]\n", "data: {\"a\":1}\n\ndata: [2]\n\n"},
		{"without parse a line has no fields", "data {line}:{record.a}", "text/plain", "1,2\n", "data: 1,2:\n\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := framesOf(t, c.options, c.contentType, c.text, func(r *http.Request) { r.Header.Set("Accept", "text/event-stream") })
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// The source keeps the lines. So those of its clients who parse them otherwise share the upstream, but no frame.
func TestRoutesThatParseOtherwiseShareAnUpstreamButNoFrame(t *testing.T) {
	u := newHub(t)
	route := func(path, options string) string {
		return "handle " + path + " {\nsse {\nbackend test_hub " + u.name + "\n" + options + "\nshare {\nreplay 9\n}\n}\n}\n"
	}
	server := startSharing(t, ssetest.Site(
		route("/csv", "parse csv a b")+route("/other", "parse csv b a")+route("/text", "")+
			route("/each", "parse csv a b\ndata {query.x}{record.b}\nwhere `record.a == {query.a}`")+
			route("/ids", "parse csv a b\nid {record.a}\ndata {record.b}")))
	first := get(t, server, "/csv")
	u.wait(t, 1)
	u.say("1,x\n2,y\n")
	wantEvents(t, first, `{"a":"1","b":"x"} {"a":"2","b":"y"}`)
	wantEvents(t, get(t, server, "/other"), `{"b":"1","a":"x"} {"b":"2","a":"y"}`)
	wantEvents(t, get(t, server, "/text"), `1,x 2,y`)
	wantEvents(t, get(t, server, "/each?a=2&x=-"), `-y`)
	for _, e := range wantEvents(t, get(t, server, "/ids"), `x y`) {
		if e.ID != "1" && e.ID != "2" {
			t.Errorf("event %+v has not the id of its line", e)
		}
	}
	wantEvents(t, get(t, server, "/ids", ssetest.LastEventID("1")), `y`)
	if n := len(u.joined()); n != 1 {
		t.Errorf("%d upstream connections, want 1", n)
	}
}

// The frames of the new config are made of the lines that the source has kept.
func TestAReloadThatParsesOtherwiseKeepsTheHistory(t *testing.T) {
	server, u := sharing(t, "parse csv a b\nshare {\nreplay 9\n}")
	client := get(t, server, "/")
	u.wait(t, 1)
	u.say("1,x\n2,y\n")
	id := client.WaitEvents(2)[0].ID
	server.Reload(shared(u, "parse csv b a\nshare {\nreplay 9\n}"))
	wantEvents(t, get(t, server, "/", ssetest.LastEventID(id)), `{"b":"2","a":"y"}`)
	wantEvents(t, get(t, server, "/"), `{"b":"1","a":"x"} {"b":"2","a":"y"}`)
}

// Each line is one event, with the number that stands in it. A soak run has a million of each kind.
func TestSoakNoLineIsLostOnItsWayThroughAParser(t *testing.T) {
	count := 5_000
	if soaking() {
		count = 1_000_000
	}
	for _, c := range []struct{ name, parse, line, number string }{
		{"csv", "csv kind - - - hex - - - - - - altitude - - lat lon - - - - n ground",
			"MSG,3,1,1,40621D,1,2026/11/25,03:04:05.678,2026/11/25,03:04:05.700,,38000,,,52.2572,3.91937,,,0,0,%d,0\r\n", "n"},
		{"NMEA", "regexp `^[!$](?P<talker>..)(?P<type>...),(?P<n>[0-9]+),(?P<fields>.*)[*](?P<sum>..)$`", "!AIVDM,%d,1,,A,13u?etPv2;0n:dDPwUM1U1Cb069D,0*24\r\n", "n"},
		{"nginx", "regexp `^(?P<addr>\\S+) \\S+ (?P<user>\\S+) \\[(?P<time>[^\\]]+)\\] \"(?P<request>[^\"]*)\" (?P<status>\\d{3}) (?P<bytes>\\d+)`",
			`127.0.0.1 - - [25/Nov/2026:03:04:05 +0000] "GET /x?a=b HTTP/1.1" 200 %d "-" "curl/8.14.1"` + "\n", "bytes"},
		{"logfmt", "logfmt", `time=2026-11-25T03:04:05.678Z level=INFO source=head.go:42 msg="replay \"done\"" n=%d` + "\n", "n"},
		{"RFC 5424", "syslog", `<34>1 2026-11-25T03:04:05.678Z host app 12 ID47 [a@1 b="c \"d\""] %d` + "\n", "message"},
		{"RFC 3164", "syslog", "<34>Nov 25 03:04:05 host app[12]: %d\n", "message"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := ssetest.Start(t, site("format lines\nparse "+c.parse+"\non_invalid error\ndata {record."+c.number+"}\nend done",
				"reverse_proxy "+ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "text/plain")
					out := bufio.NewWriterSize(w, 64<<10)
					defer out.Flush()
					for n := range count {
						fmt.Fprintf(out, c.line, n)
					}
				})))
			response, err := ssetest.Client(t, "h1").Get(server.URL("h1", "/"))
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			next, last := 0, ""
			for in := bufio.NewReader(response.Body); ; {
				line, err := in.ReadSlice('\n')
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if text, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
					if last = strings.TrimSuffix(string(text), "\n"); last == fmt.Sprint(next) {
						next++
					}
				}
			}
			if next != count || last != "done" {
				t.Errorf("%d of %d lines in order, and %q in the end", next, count, last)
			}
		})
	}
}
