package sse_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestLinesHaveFieldsForTemplatesAndWhere(t *testing.T) {
	for _, c := range []struct{ name, options, contentType, text, want string }{
		{"csv", "parse csv kind - n\nevent {record.kind}\nid {record.n}\nwhere `record.n != \"2\"`", "text/plain", "a,x,1\nb,x,2\r\n\nc,\"x\",\"3\"\"\"\r\n",
			"id: 1\nevent: a\ndata: {\"kind\":\"a\",\"n\":\"1\"}\n\nid: 3\"\nevent: c\ndata: {\"kind\":\"c\",\"n\":\"3\\\"\"}\n\n:\n"},
		{"regexp", "parse regexp `^(?P<level>\\w+): (?P<text>.*)$`\nevent {record.level}\ndata {record.text}", "text/plain", "warn: it's late\n", "event: warn\ndata: it's late\n\n"},
		{"logfmt", "parse logfmt\ndata {record.msg}|{line}", "text/plain", "level=info msg=\"a\\nb\"\n", "data: a\ndata: b|level=info msg=\"a\\nb\"\n\n"},
		{"syslog", "parse syslog\ndata {record.severity|json}{record.procid|json}{record.message|html}", "text/plain", "<34>1 - h a - - - <b>\n", "data: 2null&lt;b&gt;\n\n"},
		{"escapes", "parse csv a\ndata {line|json}{record.a|url}{record.b|json}", "text/plain", "\"x \"\"y\"\"\"\n", `data: "\"x \"\"y\"\"\""x%20%22y%22null` + "\n\n"},
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

// Each line is one event, with the number that stands in it as its id, and a type from another field. A soak run has a million
// of each kind.
func TestSoakNoLineIsLostOnItsWayThroughAParser(t *testing.T) {
	count := 5_000
	if soaking() {
		count = 1_000_000
	}
	const unfit = 100 // every so many lines come two that get no event: one that does not fit, one that where holds back
	for _, c := range []struct{ name, parse, line, unfit, number, event, want string }{
		{"dump1090", "csv kind - - - hex - - - - - - altitude - - lat lon - - - - n ground",
			"MSG,3,1,1,40621D,1,2026/11/25,03:04:05.678,2026/11/25,03:04:05.700,,38000,,,52.2572,3.91937,,,0,0,%d,0\r\n", "MSG,3\r\n", "n", "{record.hex}", "40621D"},
		{"AIS", "regexp `^[!$](?P<talker>..)(?P<type>...),(?P<n>[0-9]+),(?P<fields>.*)[*](?P<sum>..)$`",
			"!AIVDM,%d,1,,A,13u?etPv2;0n:dDPwUM1U1Cb069D,0*24\r\n", "$GPGGA\r\n", "n", "{record.type}", "VDM"},
		{"nginx", "regexp `^(?P<addr>\\S+) \\S+ (?P<user>\\S+) \\[(?P<time>[^\\]]+)\\] \"(?P<request>[^\"]*)\" (?P<status>\\d{3}) (?P<bytes>\\d+)`",
			`127.0.0.1 - - [25/Nov/2026:03:04:05 +0000] "GET /x?a=b HTTP/1.1" 200 %d "-" "curl/8.14.1"` + "\n", "127.0.0.1 - -\n", "bytes", "status-{record.status}", "status-200"},
		{"logfmt", "logfmt", `time=2026-11-25T03:04:05.678Z level=INFO source=head.go:42 msg="replay \"done\"" n=%d` + "\n", "msg=\"no end\n", "n", "{record.level}", "INFO"},
		{"RFC 5424", "syslog", `<34>1 2026-11-25T03:04:05.678Z host app 12 ID47 [a@1 b="c \"d\""] %d` + "\n", "<34>1 no\n", "message", "{record.appname}-{record.severity}", "app-2"},
		{"RFC 3164", "syslog", "<34>Nov 25 03:04:05 host app[12]: %d\n", "no\n", "message", "{record.appname}-{record.severity}", "app-2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := ssetest.Start(t, site(fmt.Sprintf("format lines\nparse %s\non_invalid skip\nevent %s\nid {record.%[3]s}\ndata {record.%[3]s}\nwhere \"record.%[3]s != '%d'\"\nend done",
				c.parse, c.event, c.number, count),
				"reverse_proxy "+ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "text/plain")
					out := bufio.NewWriterSize(w, 64<<10)
					defer out.Flush()
					for n := range count {
						if n%unfit == 0 {
							_, _ = io.WriteString(out, c.unfit)
							fmt.Fprintf(out, c.line, count)
						}
						fmt.Fprintf(out, c.line, n)
					}
				})))
			response, err := ssetest.Client(t, "h1").Get(server.URL("h1", "/"))
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			in := bufio.NewReader(response.Body)
			wantText(t, in, ":\n")
			wantNumbered(t, in, c.want, 0, count)
			wantText(t, in, "event: done\ndata: done\n\n")
		})
	}
}

// wantNumbered reads events of a type, whose ids and data are their numbers, and nothing else.
func wantNumbered(t *testing.T, in *bufio.Reader, event string, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		wantText(t, in, fmt.Sprintf("id: %[2]d\nevent: %[1]s\ndata: %[2]d\n\n", event, n))
	}
}

func wantText(t *testing.T, in *bufio.Reader, want string) {
	t.Helper()
	got, err := in.Peek(len(want))
	if err != nil || string(got) != want {
		t.Fatalf("the stream goes on with %q, want %q: %v", got, want, err)
	}
	_, _ = in.Discard(len(want))
}

// The sender waits for its client after each hundred: the system drops datagrams that nobody has read in time.
func TestSoakNoSyslogDatagramIsLostOnItsWayThroughAParser(t *testing.T) {
	count := 5_000
	if soaking() {
		count = 1_000_000
	}
	const window = 100
	for name, line := range map[string]string{
		"RFC 5424": `<34>1 2026-11-25T03:04:05.678Z host app 12 ID47 [a@1 b="c \"d\""] %d`,
		"RFC 3164": "<34>Nov 25 03:04:05 host app[12]: %d",
	} {
		t.Run(name, func(t *testing.T) {
			address := ssetest.FreeAddress(t)
			server := ssetest.Start(t, site("backend listen udp/"+address+"\nparse syslog\nevent {record.appname}\nid {record.message}\ndata {record.message}\nwhere record.severity==2\nshare {\nlinger 0\n}", ""))
			response, err := ssetest.Client(t, "h1").Get(server.URL("h1", "/"))
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			conn, err := net.Dial("udp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			in := bufio.NewReader(response.Body)
			wantText(t, in, ":\n")
			for line := " "; line != "\n"; { // the position of the stream
				if line, err = in.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
			for n := 0; n < count; n += window {
				for i := range window {
					if _, err := fmt.Fprintf(conn, line, n+i); err != nil {
						t.Fatal(err)
					}
				}
				lost := time.AfterFunc(ssetest.Patience, func() { response.Body.Close() })
				wantNumbered(t, in, "app", n, n+window)
				lost.Stop()
			}
		})
	}
}
