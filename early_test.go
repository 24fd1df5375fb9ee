package sse_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// answersLate is an upstream that gives the answer that the query asks for once it is released.
func answersLate(release <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-release:
		case <-r.Context().Done():
			return
		}
		var status int
		kind := r.URL.Query().Get("type")
		_, _ = fmt.Sscan(r.URL.Query().Get("status"), &status)
		w.Header().Set("X-Late", "1")
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		switch kind {
		case "text/event-stream":
			fmt.Fprint(w, "\uFEFFid: 1\ndata: 1\n\n")
		case "abort":
			panic(http.ErrAbortHandler)
		default:
			fmt.Fprint(w, "1\n")
		}
	}
}

// beatingRoute is route with heartbeats.
func beatingRoute(path, options, next string) string {
	return strings.Replace(route(path, options, next), "heartbeat off\n", "", 1)
}

func TestAStreamOpensAlthoughItsUpstreamHasNotAnswered(t *testing.T) {
	ssetest.NoLeaks(t)
	release := make(chan struct{})
	upstream := ssetest.Upstream(t, answersLate(release))
	const options = "open_after 10ms\nheartbeat 100ms\nend done\n"
	server := ssetest.Start(t, ssetest.Site(logging+"encode gzip\nheader X-Site 1\n"+
		beatingRoute("/next", options, "reverse_proxy "+upstream)+
		beatingRoute("/backend", options+"backend http http://"+upstream+"?{query}", "")+
		"handle_errors {\nrespond sorry\n}"))
	failed := func(status int) string {
		return fmt.Sprintf("event: sse-error\ndata: {\"reason\":\"upstream_error\",\"status\":%d}\n\n", status)
	}
	const records = "data: 1\n\nevent: done\ndata: done\n\n"
	type answer struct {
		stream *ssetest.Stream
		want   string
		broken bool
	}
	var answers []answer
	for _, protocol := range ssetest.Protocols {
		client := ssetest.Client(t, protocol)
		for query, want := range map[string]string{
			"status=200&type=application/x-ndjson": records,
			"status=200&type=text/html":            failed(502),
			"status=404&type=text/html":            failed(404),
			"status=503&type=application/x-ndjson": failed(503),
			"status=302&type=text/html":            failed(302),
			"status=200&type=text/event-stream":    "",
		} {
			for _, path := range []string{"/next?", "/backend?"} {
				want := want
				if want == "" { // the next handler's own stream passes through
					if want = "id: 1\ndata: 1\n\n"; path == "/backend?" {
						want += "event: done\ndata: done\n\n"
					}
				}
				for _, method := range []string{http.MethodGet, http.MethodPost} {
					s := ssetest.Get(t, client, server.URL(protocol, path+query), func(r *http.Request) { r.Method = method })
					if s.Status != 200 || s.Header.Get("Content-Type") != "text/event-stream" || s.Header.Get("X-Site") != "1" || s.Header.Get("X-Late") != "" {
						t.Errorf("%s over %s: %v, header %v", path+query, protocol, s, s.Header)
					}
					answers = append(answers, answer{s, want, strings.Contains(want, "sse-error")})
				}
			}
		}
	}
	for _, a := range answers {
		a.stream.WaitComments(2) // the opening and a heartbeat
	}
	close(release)
	for _, a := range answers {
		if err := a.stream.WaitEnd(); (err != nil) != a.broken {
			t.Errorf("%s: ended with %v", a.stream, err)
		}
		if raw := strings.TrimLeft(a.stream.Raw(), ":\n"); raw != a.want && strings.ReplaceAll(raw, ":\n", "") != a.want {
			t.Errorf("got %q, want %q", raw, a.want)
		}
	}
}

func TestAnUpstreamThatCannotBeReachedAfterTheStreamHasOpenedIsAnErrorEvent(t *testing.T) {
	ssetest.NoLeaks(t)
	release := make(chan struct{})
	next := nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html") // while the stream opens
		for len(r.URL.Query()["wait"]) > 0 {
			select {
			case <-release:
				panic(http.ErrAbortHandler)
			case <-time.After(time.Millisecond):
				w.Header().Set("X-Late", "1")
			}
		}
	})
	server := ssetest.Start(t, site("open_after 10ms", next))
	var streams []*ssetest.Stream
	for _, protocol := range ssetest.Protocols {
		s := getOver(t, server, protocol, "/?wait&"+protocol)
		s.WaitComments(1)
		streams = append(streams, s)
	}
	close(release)
	for i, s := range streams {
		if raw := brokenBody(t, s); raw != ":\nevent: sse-error\ndata: {\"reason\":\"upstream_error\",\"status\":502}\n\n" {
			t.Errorf("got %q", raw)
		}
		if access := waitAccessLog(server, "/?wait&"+ssetest.Protocols[i]); access.Fields["end_reason"] != "upstream_error" {
			t.Errorf("access log: %v", access.Fields)
		}
	}
}

func TestAnAnswerThatComesInTimeIsTheResponse(t *testing.T) {
	ssetest.NoLeaks(t)
	release := make(chan struct{})
	close(release)
	upstream := ssetest.Upstream(t, answersLate(release))
	server := ssetest.Start(t, site("open_after 1m", "reverse_proxy "+upstream))
	for _, protocol := range ssetest.Protocols {
		for query, status := range map[string]int{"status=404&type=text/html": 404, "status=200&type=text/html": 200, "status=200&type=" + ndjson: 200} {
			s := ssetest.Get(t, ssetest.Client(t, protocol), server.URL(protocol, "/?"+query))
			raw := wholeBody(t, s)
			want := map[bool]string{true: ":\ndata: 1\n\n", false: "1\n"}[strings.Contains(query, ndjson)]
			if s.Status != status || s.Header.Get("X-Late") != "1" || raw != want {
				t.Errorf("%s over %s: %v, header %v", query, protocol, s, s.Header)
			}
		}
	}
}

func TestRequestsThatMayGetAnotherAnswerThanAStreamWaitForIt(t *testing.T) {
	ssetest.NoLeaks(t)
	asked, release := make(chan string, 100), make(chan struct{})
	upstream := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method
		<-release
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusTeapot)
	})
	server := ssetest.Start(t, ssetest.Site(route("/negotiated", "open_after 1ms\naccept negotiate", "reverse_proxy "+upstream)+
		route("/", "open_after 1ms", "reverse_proxy "+upstream)))
	method := func(name string) func(*http.Request) { return func(r *http.Request) { r.Method = name } }
	plain := ssetest.With("Accept", "*/*")
	waiting := make(chan *ssetest.Stream)
	requests := 1
	go func() {
		upgrade := func(r *http.Request) { r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}} }
		waiting <- ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/"), upgrade)
	}()
	for _, protocol := range ssetest.Protocols {
		client := ssetest.Client(t, protocol)
		for _, request := range []struct {
			path    string
			options []func(*http.Request)
		}{
			{"/", []func(*http.Request){method(http.MethodHead)}},
			{"/", []func(*http.Request){method(http.MethodOptions)}},
			{"/", []func(*http.Request){method(http.MethodTrace)}},
			{"/", []func(*http.Request){plain, ssetest.With("Range", "bytes=0-9")}},
			{"/", []func(*http.Request){plain, ssetest.With("If-None-Match", `"a"`)}},
			{"/negotiated", []func(*http.Request){ssetest.With("Accept", "text/html")}},
		} {
			requests++
			go func() { waiting <- ssetest.Get(t, client, server.URL(protocol, request.path), request.options...) }()
		}
	}
	for range requests {
		<-asked
	}
	get(t, server, "/") // it opens, although it is younger than they are
	close(release)
	for range requests {
		if s := <-waiting; s.Status != http.StatusTeapot || s.Header.Get("Content-Type") != "text/html" {
			t.Errorf("got %v, header %v", s, s.Header)
		}
	}
}

func TestAnUploadGoesOnAfterItsStreamHasOpened(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		size, err := io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", ndjson)
		fmt.Fprintf(w, "%d %v\n", size, err)
	})
	server := ssetest.Start(t, site("open_after 10ms", "reverse_proxy "+upstream))
	const half = 300 << 10 // more than a server reads by itself before it sends the headers
	for _, protocol := range ssetest.Protocols {
		for _, size := range []int64{2 * half, -1} {
			body, upload := io.Pipe()
			go func() { _, _ = io.WriteString(upload, strings.Repeat("x", half)) }()
			r, _ := http.NewRequest(http.MethodPost, server.URL(protocol, "/"), body)
			r.ContentLength = size
			s := ssetest.Do(t, ssetest.Client(t, protocol), r)
			_, _ = io.WriteString(upload, strings.Repeat("x", half))
			_ = upload.Close()
			if raw := wholeBody(t, s); raw != fmt.Sprintf(":\ndata: %d <nil>\n\n", 2*half) {
				t.Errorf("%s, size %d: got %q", protocol, size, raw)
			}
		}
	}
}

func TestAStreamThatHasOpenedIsOutOfItsNextHandlersReach(t *testing.T) {
	ssetest.NoLeaks(t)
	opened := make(chan struct{})
	next := nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(http.StatusEarlyHints)
		for working := true; working; { // while the stream opens
			caddyhttp.SetVar(r.Context(), "state", "busy")
			r.URL.Path = "/busy"
			select {
			case <-opened:
				working = false
			default:
			}
		}
		caddyhttp.SetVar(r.Context(), "state", "done")
		w.WriteHeader(http.StatusEarlyHints)
		controller := http.NewResponseController(w)
		if _, _, err := controller.Hijack(); err == nil {
			t.Error("the connection can be taken away from the stream")
		}
		if controller.SetWriteDeadline(time.Unix(1, 0)) == nil {
			t.Error("the stream's deadline can be set")
		}
		w.Header().Set("Content-Type", ndjson)
		fmt.Fprint(w, "1\n")
	})
	server := ssetest.Start(t, site("open_after 10ms\ndata \"{record} {http.vars.state}\"", next))
	for _, protocol := range ssetest.Protocols {
		s := getOver(t, server, protocol, "/")
		opened <- struct{}{}
		if raw := wholeBody(t, s); raw != ":\ndata: 1 done\n\n" || s.Header.Get("Link") != "" {
			t.Errorf("%s: got %q, header %v", protocol, raw, s.Header)
		}
	}
}

func TestAStopEndsAStreamWhoseUpstreamDoesNotAnswer(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := ssetest.Upstream(t, answersLate(nil))
	server := ssetest.Start(t, ssetest.Site(logging+route("/next", "open_after 1ms\ndrain 50ms", "reverse_proxy "+upstream)+
		route("/backend", "open_after 1ms\ndrain 50ms\nbackend http http://"+upstream, "")))
	var streams []*ssetest.Stream
	for _, protocol := range ssetest.Protocols {
		for _, path := range []string{"/next", "/backend"} {
			streams = append(streams, getOver(t, server, protocol, path))
		}
	}
	server.Reload(ssetest.Site("respond new"))
	for _, s := range streams {
		if raw := wholeBody(t, s); !strings.HasPrefix(raw, ":\nretry: ") {
			t.Errorf("got %q", raw)
		}
	}
}

// balancer is a proxy that ends connections on which the server sends nothing for too long, as load balancers do.
func balancer(t *testing.T, server string, patience time.Duration) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		running.Wait()
	})
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer client.Close()
				upstream, err := net.Dial("tcp", server)
				if err != nil {
					return
				}
				defer upstream.Close()
				running.Go(func() { _, _ = io.Copy(upstream, client) })
				piece := make([]byte, 4<<10)
				for {
					_ = upstream.SetReadDeadline(time.Now().Add(patience))
					n, err := upstream.Read(piece)
					if err != nil {
						return
					}
					if _, err := client.Write(piece[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	return strings.Replace(listener.Addr().String(), "127.0.0.1", "localhost", 1) // the site's host
}

// In a soak run, the proxy cuts after five seconds, and the upstream is silent for twenty.
func TestSoakASlowUpstreamSurvivesAProxyThatCutsSilentConnections(t *testing.T) {
	ssetest.NoLeaks(t)
	patience, silence := time.Second, 3*time.Second/2
	if soaking() {
		patience, silence = 5*time.Second, 20*time.Second
	}
	slow := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(silence)
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		_, _ = io.WriteString(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		time.Sleep(silence)
		_, _ = io.WriteString(w, "data: 2\n\n")
	})
	options := fmt.Sprintf("heartbeat %s\nformat event_stream\n", patience/20)
	server := ssetest.Start(t, ssetest.Site(beatingRoute("/converted", options+"open_after 50ms", "reverse_proxy "+slow)+
		beatingRoute("/passed", strings.Replace(options, "format event_stream\n", "open_after 50ms", 1), "reverse_proxy "+slow)+beatingRoute("/late", options, "reverse_proxy "+slow)))
	address := balancer(t, strings.TrimPrefix(server.URL("h1", ""), "http://"), patience)
	late := make(chan error)
	go func() {
		response, err := http.Get("http://" + address + "/late?type=text/event-stream")
		if err == nil {
			_ = response.Body.Close()
		}
		late <- err
	}()
	var streams []*ssetest.Stream
	for _, path := range []string{"/converted", "/passed"} {
		streams = append(streams, ssetest.Get(t, ssetest.Client(t, "h1"), "http://"+address+path+"?type=text/event-stream"))
	}
	for _, s := range streams {
		s.WaitEvents(1) // each may take as long as a test waits
		s.WaitEvents(2)
		if raw := strings.ReplaceAll(wholeBody(t, s), ":\n", ""); raw != "data: 1\n\ndata: 2\n\n" {
			t.Errorf("got %q", raw)
		}
	}
	if <-late == nil {
		t.Error("the proxy does not cut a silent connection")
	}
}
