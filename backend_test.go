package sse_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// An hour of silence at the default heartbeat is 240 comments.
func TestHeartbeatsGoOnForAsLongAsAnUpstreamIsSilent(t *testing.T) {
	ssetest.NoLeaks(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	asked := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	cases := map[string]string{
		"next":   "sse {\nheartbeat 5ms\n}\nreverse_proxy " + asked,
		"shared": "sse {\nheartbeat 5ms\nshare {\nlinger 0\n}\n}\nreverse_proxy " + asked,
		"dial":   "sse {\nheartbeat 5ms\nbackend dial " + silent.Addr().String() + "\n}",
		"exec":   "sse {\nheartbeat 5ms\nbackend exec sleep 1000\n}",
		"file":   "sse {\nheartbeat 5ms\nbackend file " + filepath.Join(t.TempDir(), "not-there-yet.log") + "\n}",
		"http":   "sse {\nheartbeat 5ms\nbackend http http://" + asked + "\n}",
		"listen": "sse {\nheartbeat 5ms\nbackend listen 127.0.0.1:{{port \"listen\"}}\n}",
	}
	var routes strings.Builder
	for name, directives := range cases {
		routes.WriteString("route /" + name + " {\n" + directives + "\n}\n")
	}
	server := ssetest.Start(t, ssetest.Site(routes.String()))
	streams := make(map[string]*ssetest.Stream)
	for name := range cases { // all at once, as each takes a while
		streams[name] = ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/"+name))
	}
	for name, s := range streams {
		t.Log(name)
		s.WaitComments(240)
		if n := len(s.Events()); n > 0 {
			t.Errorf("%s: %d events of nothing", name, n)
		}
		s.Close()
	}
}

func TestHEADIsAnsweredAsGETWouldBeWithoutOpeningABackend(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	server := ssetest.Start(t, ssetest.Site(`handle /file {
	sse {
		backend file /var/log/{query.x}
	}
}
handle /raw {
	sse {
		accept negotiate
		backend exec touch `+ran+`
	}
}
handle {
	sse {
		backend exec touch `+ran+` {query.x}
	}
}`))
	for target, want := range map[string]int{"/file?x=a": 200, "/file?x=../a": 404, "/?x=a": 200, "/?x=%00": 400, "/raw": 200} {
		response, _ := do(t, ssetest.Client(t, "h1"), http.MethodHead, server.URL("h1", target), "", func(r *http.Request) {
			if target == "/raw" {
				r.Header.Set("Accept", "text/plain")
			}
		})
		if response.StatusCode != want {
			t.Errorf("HEAD %s: status %d, want %d", target, response.StatusCode, want)
		}
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("HEAD has run the command")
	}
}

func TestABackendsStreamNeitherWaitsForTheRequestsBodyNorDoesAStop(t *testing.T) {
	for _, options := range []string{"", "share", "accept negotiate"} {
		t.Run(options, func(t *testing.T) {
			ssetest.NoLeaks(t)
			t.Cleanup(share.CloseAll)
			u := newHub(t)
			server := ssetest.Start(t, ssetest.Site("sse {\nbackend test_hub "+u.name+"\ndrain 0\non_reload end\n"+options+"\n}"))
			for i, protocol := range ssetest.Protocols {
				body, unsent := io.Pipe()
				defer unsent.Close()
				r, _ := http.NewRequest(http.MethodPost, server.URL(protocol, "/"), body)
				r.ContentLength = 100
				if options == "accept negotiate" {
					r.Header.Set("Accept", "text/plain")
				}
				go func() { _, _ = io.WriteString(unsent, "abc") }()
				response, err := ssetest.Client(t, protocol).Do(r)
				if err != nil {
					t.Fatalf("%s: %v", protocol, err)
				}
				defer response.Body.Close()
				if options == "share" {
					i = 0
				}
				u.wait(t, i+1)
			}
			server.Stop()
			ssetest.Wait(t, "the streams to end", func() bool { return len(stream.All()) == 0 })
		})
	}
}

func TestAConnectionIsKeptAfterAStreamOfARequestWithoutABody(t *testing.T) {
	ssetest.NoLeaks(t)
	server := ssetest.Start(t, ssetest.Site("sse {\nbackend exec echo 1\n}"))
	response, _ := do(t, ssetest.Client(t, "h1"), http.MethodGet, server.URL("h1", "/"), "")
	if response.Close {
		t.Error("it is closed")
	}
}

func TestAClientThatStillSendsItsBodyGetsTheAnswerOfABackendThatFails(t *testing.T) {
	ssetest.NoLeaks(t)
	server := ssetest.Start(t, ssetest.Site("sse {\nbackend dial 127.0.0.1:1\n}"))
	prompt := strings.Repeat("prompt ", 140_000)
	for _, protocol := range ssetest.Protocols {
		for range 30 {
			response, _ := do(t, ssetest.Client(t, protocol), http.MethodPost, server.URL(protocol, "/"), prompt)
			if response.StatusCode != 502 {
				t.Fatalf("%s: status %d", protocol, response.StatusCode)
			}
		}
	}
}

func TestReadTimeoutsDoNotEndAStreamWhoseRequestsBodyIsStillToCome(t *testing.T) {
	ssetest.NoLeaks(t)
	for _, timeout := range []string{"read_body 300ms", "read_body_idle 300ms"} {
		t.Run(timeout, func(t *testing.T) {
			server := ssetest.Start(t, "{\nservers {\ntimeouts {\n"+timeout+"\n}\n}\n}\n"+ssetest.Site("sse {\nbackend exec sh -c \"sleep 1; echo 1\"\n}"))
			var asking sync.WaitGroup
			for _, protocol := range ssetest.Protocols {
				client := ssetest.Client(t, protocol)
				asking.Go(func() {
					body, unsent := io.Pipe()
					defer unsent.Close()
					r, _ := http.NewRequest(http.MethodPost, server.URL(protocol, "/"), body)
					r.ContentLength = 100
					go func() { _, _ = io.WriteString(unsent, "abc") }()
					response, err := client.Do(r)
					if err != nil {
						t.Errorf("%s: %v", protocol, err)
						return
					}
					defer response.Body.Close()
					if text, _ := io.ReadAll(response.Body); string(text) != ":\ndata: 1\n\n" {
						t.Errorf("%s: got %q", protocol, text)
					}
				})
			}
			asking.Wait()
		})
	}
}

func TestABackendsContentTypeHasToBeOneOfRecords(t *testing.T) {
	upstream := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = []string{r.URL.Query().Get("type")}
		_, _ = io.WriteString(w, "a\n")
	})
	server := ssetest.Start(t, ssetest.Site(
		route("/auto", "backend http http://"+upstream+"/?{query}", "")+
			route("/lines", "backend http http://"+upstream+"/?{query}\nformat lines", "")+
			route("/shared", "backend http http://"+upstream+"/?{query}\nshare", "")))
	for contentType, accepted := range map[string]string{
		"application/x-ndjson": "/auto /lines", "text/plain": "/auto /lines", "text/csv; header=present": "/auto /lines", "": "/auto /lines",
		"application/octet-stream": "/lines", "image/png": "/lines",
		"text/html": "", "TEXT/HTML; charset=utf-8": "", "application/xhtml+xml": "",
	} {
		for _, path := range []string{"/auto", "/lines"} {
			want, text := http.StatusBadGateway, ""
			if strings.Contains(accepted, path) {
				want, text = http.StatusOK, ":\ndata: a\n\n"
			}
			response, body := do(t, ssetest.Client(t, "h1"), "GET", server.URL("h1", path+"?type="+url.QueryEscape(contentType)), "")
			if response.StatusCode != want || body != text {
				t.Errorf("%s, %q: got %d, %q", path, contentType, response.StatusCode, body)
			}
		}
	}
	get(t, server, "/shared?type=text/html")
	line := server.WaitLog("the refusal", func(l ssetest.Log) bool { return l.Message == "upstream failed, connecting anew" })
	if got := fmt.Sprint(line.Fields["error"]); !strings.Contains(got, `"text/html"`) {
		t.Errorf("the log says %q", got)
	}
}

func TestHEADIsRefusedAsGETWouldBe(t *testing.T) {
	ssetest.NoLeaks(t)
	server := ssetest.Start(t, ssetest.Site("sse {\naccept negotiate\nbackend listen 127.0.0.1:{{port \"in\"}}\n}"))
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		response, _ := do(t, ssetest.Client(t, "h1"), method, server.URL("h1", "/"), "", func(r *http.Request) {
			r.Header.Set("Accept", "text/plain")
		})
		if response.StatusCode != http.StatusNotAcceptable {
			t.Errorf("%s: status %d", method, response.StatusCode)
		}
	}
}
