package sse_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// A client that does not know sse-error takes a cleanly ended response for a complete one. And a stream that a panic breaks off is
// logged with a duration of 0, and is missing in Caddy's metrics.
func TestAStreamWhoseUpstreamFailsIsBrokenOffAndAccountedFor(t *testing.T) {
	ssetest.NoLeaks(t)
	const global = `{
	admin 127.0.0.1:{{port "admin"}}
	metrics
	servers {
		timeouts {
			write 1s
		}
	}
}
`
	upstream := newScript(ndjson)
	server := ssetest.Start(t, global+strings.Replace(site("", "reverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)), "sse {", "encode gzip\nsse {", 1))
	requests := 0
	for _, protocol := range ssetest.Protocols {
		for _, encoding := range []string{"identity", "gzip"} {
			requests++
			path := fmt.Sprintf("/?%s-%s", protocol, encoding)
			r, _ := http.NewRequest("GET", server.URL(protocol, path), nil)
			r.Header.Set("Accept-Encoding", encoding)
			response, err := ssetest.Client(t, protocol).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			upstream.say("1\n")
			if protocol == "h1" {
				time.Sleep(1100 * time.Millisecond) // longer than the write timeout, after which Caddy looks for a failed write
			}
			upstream.say(abort)
			plain := io.Reader(response.Body)
			if encoding == "gzip" {
				if plain, err = decompress(encoding, plain); err != nil {
					t.Fatal(err)
				}
			}
			body, err := io.ReadAll(plain)
			_ = response.Body.Close()
			if want := ":\ndata: 1\n\nevent: sse-error\ndata: {\"reason\":\"upstream_error\"}\n\n"; string(body) != want || err == nil {
				t.Errorf("%s: got %q, then %v", path, body, err)
			}
			access := waitAccessLog(server, path)
			duration, _ := access.Fields["duration"].(float64)
			if writeError := access.Fields["write_error"]; duration == 0 || writeError != nil || access.Fields["status"] != 200.0 || access.Fields["end_reason"] != "upstream_error" {
				t.Errorf("%s: access log: %v", path, access.Fields)
			}
		}
	}
	ssetest.Wait(t, "all requests in Caddy's metrics", func() bool {
		_, text := askAdmin(t, server, http.MethodGet, "/metrics")
		count := 0.0
		for line := range strings.Lines(text) {
			var n float64
			if name, value, _ := strings.Cut(line, "} "); strings.HasPrefix(name, "caddy_http_request_duration_seconds_count") && strings.Contains(name, `handler="subroute"`) {
				_, _ = fmt.Sscan(value, &n)
				count += n
			}
		}
		return count == float64(requests)
	})
}

func TestAPassedEventStreamThatBreaksOffIsBrokenOffAndAccountedFor(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := newScript("text/event-stream")
	server := ssetest.Start(t, site("", "reverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)))
	for _, protocol := range ssetest.Protocols {
		path := "/?" + protocol
		s := getOver(t, server, protocol, path)
		upstream.say("data: 1\n\ndata: ", abort)
		if raw := brokenBody(t, s); raw != "data: 1\n\ndata: " {
			t.Errorf("%s: got %q", protocol, raw)
		}
		access := waitAccessLog(server, path)
		if duration, _ := access.Fields["duration"].(float64); duration == 0 || access.Fields["end_reason"] != "upstream_error" {
			t.Errorf("%s: access log: %v", protocol, access.Fields)
		}
	}
}

// A client does not repeat a request with another method than GET by itself.
func TestAPOSTThatIsCutIsBrokenOff(t *testing.T) {
	ssetest.NoLeaks(t)
	server := ssetest.Start(t, site("max_duration 50ms", "reverse_proxy "+ssetest.Upstream(t, staying(ndjson, "1\n"))))
	for _, protocol := range ssetest.Protocols {
		brokenBody(t, getOver(t, server, protocol, "/", func(r *http.Request) { r.Method = http.MethodPost }))
	}
}

func TestAStreamWithinAnotherIsBrokenOffByBoth(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := newScript(ndjson)
	server := ssetest.Start(t, site("", "route {\nsse\nreverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)+"\n}"))
	for _, protocol := range ssetest.Protocols {
		path := "/?" + protocol
		s := getOver(t, server, protocol, path)
		upstream.say("1\n", abort)
		if raw := brokenBody(t, s); !strings.Contains(raw, "event: sse-error\n") {
			t.Errorf("%s: got %q", protocol, raw)
		}
		if access := waitAccessLog(server, path); access.Fields["end_reason"] != "upstream_error" {
			t.Errorf("%s: access log: %v", protocol, access.Fields)
		}
	}
}

func TestAStreamWithinASharedOneIsNotTakenForAWholeOne(t *testing.T) {
	upstream := newScript(ndjson)
	server := startSharing(t, site("share\nend done", "route {\nsse\nreverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)+"\n}"))
	s := getOver(t, server, "h1", "/")
	upstream.say("1\n", abort)
	upstream.say("2\n") // asked again
	ssetest.Wait(t, "the record of the second answer", func() bool { return strings.Contains(s.Raw(), "data: 2\n") })
	if strings.Contains(s.Raw(), "event: done\n") {
		t.Errorf("got %q", s.Raw())
	}
}
