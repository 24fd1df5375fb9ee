package sse_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/ratelog"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// ours are the lines of the handlers themselves that have a message.
func ours(server *ssetest.Server, message string) (lines []ssetest.Log) {
	for _, l := range server.Logs() {
		if strings.HasPrefix(l.Logger, "http.handlers.sse") && l.Message == message {
			lines = append(lines, l)
		}
	}
	return lines
}

func TestEachStreamsEndIsLoggedAtDebug(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := ssetest.Upstream(t, saying(ndjson, "1\n2\n"))
	server := ssetest.Start(t, site("", "rewrite * /rewritten?token="+secret+"\nreverse_proxy "+upstream))
	const path = "/%0a\u2028?token=" + secret
	body := wholeBody(t, get(t, server, path))
	line := server.WaitLog("the stream's end", func(l ssetest.Log) bool { return l.Message == "stream ended" })
	if line.Level != "debug" || line.Fields["end_reason"] != stream.EndUpstreamEnd || line.Fields["events"] != 2.0 || line.Fields["bytes"] != float64(len(body)) ||
		line.Fields["backend"] != "next" || line.Fields["client_ip"] != "127.0.0.1" || line.Fields["uri"] != "/%0A%E2%80%A8?token=REDACTED" {
		t.Errorf("logged: %v", line.Fields)
	}
	if n := len(ours(server, "stream ended")); n != 1 {
		t.Errorf("%d lines, want 1", n)
	}
}

func TestUpstreamFailuresAreLoggedButNotWithoutEnd(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", ndjson)
		_, _ = io.WriteString(w, "1\n")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	server := ssetest.Start(t, withAdmin+ssetest.Site("sse\nreverse_proxy /down* 127.0.0.1:{{port \"nobody\"}}\nreverse_proxy "+upstream))
	client := ssetest.Client(t, "h1")
	ask := func(path string) { _ = ssetest.Get(t, client, server.URL("h1", path)).WaitEnd() }
	failed := func() float64 { return scrape(t, server)[`upstream_failures_total{backend="next"}`] }
	before, began := failed(), time.Now()

	ask("/down?token=" + secret)
	ask("/breaks-off?token=" + secret)
	for i, want := range []string{"/down?token=REDACTED", "/breaks-off?token=REDACTED"} {
		lines := ours(server, "upstream failed")
		if len(lines) != 2 || lines[i].Level != "warn" || lines[i].Fields["uri"] != want || lines[i].Fields["error"] == "" || lines[i].Fields["backend"] != "next" {
			t.Fatalf("logged: %v", lines)
		}
	}
	const more = 50
	for range more {
		ask("/breaks-off")
	}
	if n := failed() - before; n != more+2 {
		t.Errorf("%v failures are counted, want %d", n, more+2)
	}
	// Two have been logged before. Each takes some seconds to be allowed again.
	most := ratelog.WarningsAtOnce + int(time.Since(began)/time.Second)
	if n := len(ours(server, "upstream failed")); n < ratelog.WarningsAtOnce || n > most {
		t.Errorf("%d failures are logged, want from %d to %d", n, ratelog.WarningsAtOnce, most)
	}
}

// TestEndReasonsOverHTTP2AndHTTP3CompressedToo is TestTheAccessLogNamesWhyEachStreamEnded where it is harder to tell who
// has left from who does not read.
func TestEndReasonsOverHTTP2AndHTTP3CompressedToo(t *testing.T) {
	for protocol, encoding := range map[string]string{"h2": "gzip", "h3": "zstd"} {
		t.Run(protocol+" "+encoding, func(t *testing.T) {
			ssetest.NoLeaks(t)
			t.Cleanup(share.CloseAll)
			scripts := make(map[string]*script)
			var routes strings.Builder
			for reason, options := range map[string]string{
				stream.EndUpstreamEnd: "end done", stream.EndUpstreamError: "", stream.EndClientGone: "",
				stream.EndRecordTooLarge: "max_record_size 10 error", stream.EndAdmin: "", stream.EndShutdown: "drain 50ms",
			} {
				scripts[reason] = newScript("text/plain")
				routes.WriteString(route("/"+reason, options, "reverse_proxy "+ssetest.Upstream(t, scripts[reason].ServeHTTP)))
			}
			routes.WriteString(route("/"+stream.EndMaxDuration, "max_duration 1s", "reverse_proxy "+ssetest.Upstream(t, staying("text/plain", "1\n"))))
			routes.WriteString(route("/"+stream.EndClientStalled, "stall_timeout 2s", nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
				for r.Context().Err() == nil {
					_, _ = io.WriteString(w, noise())
				}
			})))
			u := newHub(t)
			routes.WriteString(route("/"+stream.EndLag, "backend test_hub "+u.name+"\nshare {\nhistory 5 100KB\nlinger 0\n}", ""))
			server := ssetest.Start(t, withAdmin+ssetest.Site("encode\n"+logging+routes.String()))

			type cause struct {
				reason string
				bring  func(s *ssetest.Stream)
			}
			end := func(causes ...cause) {
				streams := make(map[string]*ssetest.Stream)
				for _, c := range causes {
					s := getOver(t, server, protocol, "/"+c.reason, ssetest.With("Accept-Encoding", encoding))
					if s.Header.Get("Content-Encoding") != encoding {
						t.Fatalf("header %v", s.Header)
					}
					if u := scripts[c.reason]; u != nil {
						u.say("1\n")
						waitSent(t, "/"+c.reason)
					}
					c.bring(s)
					streams[c.reason] = s
				}
				for reason, s := range streams {
					access := waitAccessLog(server, "/"+reason)
					s.Close()
					if access.Fields["end_reason"] != reason || access.Fields["events"].(float64) < 1 || access.Fields["bytes"].(float64) < 1 {
						t.Errorf("%s is logged as %v, with %v events and %v bytes", reason, access.Fields["end_reason"], access.Fields["events"], access.Fields["bytes"])
					}
				}
			}
			end(
				cause{stream.EndUpstreamEnd, func(*ssetest.Stream) { close(scripts[stream.EndUpstreamEnd].pieces) }},
				cause{stream.EndUpstreamError, func(*ssetest.Stream) { scripts[stream.EndUpstreamError].say(abort) }},
				cause{stream.EndClientGone, func(s *ssetest.Stream) { s.Close() }},
				cause{stream.EndClientStalled, func(s *ssetest.Stream) { s.Pause() }},
				cause{stream.EndMaxDuration, func(*ssetest.Stream) {}},
				cause{stream.EndRecordTooLarge, func(*ssetest.Stream) { scripts[stream.EndRecordTooLarge].say("0123456789abc\n") }},
				cause{stream.EndLag, func(s *ssetest.Stream) { fallBehind(t, u, s, "/"+stream.EndLag) }},
			)
			end(cause{stream.EndAdmin, func(*ssetest.Stream) {
				for _, info := range listStreams(t, server) {
					askAdmin(t, server, http.MethodDelete, "/sse/streams/"+info.ID)
				}
			}})
			end(cause{stream.EndShutdown, func(*ssetest.Stream) { server.Reload(withAdmin + ssetest.Site("encode\n"+logging)) }})
		})
	}
}
