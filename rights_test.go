package sse_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestAStreamEndsAtTheTimeThatExpiresGives(t *testing.T) {
	ssetest.NoLeaks(t)
	records := ssetest.Upstream(t, staying(ndjson, "1\n"))
	events := ssetest.Upstream(t, staying("text/event-stream", "data: 1\n\n"))
	const option = "expires {header.X-Until}\n"
	server := ssetest.Start(t, ssetest.Site(logging+route("/next", option, "reverse_proxy "+records)+route("/passed", option, "reverse_proxy "+events)+
		route("/backend", option+"backend http http://"+records, "")+route("/shared", option+"backend http http://"+records+"\nshare {\nreplay 9\nlinger 0\n}", "")))
	type asked struct {
		stream *ssetest.Stream
		path   string
		method string
	}
	var all []asked
	in := time.Now().Add(1200 * time.Millisecond)
	for _, protocol := range ssetest.Protocols {
		client := ssetest.Client(t, protocol)
		for i, until := range []string{in.Format(time.RFC3339Nano), fmt.Sprintf("%.3f", float64(in.UnixMilli())/1000), fmt.Sprintf("%.15e", float64(in.UnixMilli())/1000)} {
			for _, path := range []string{"/next", "/passed", "/backend", "/shared"} {
				method := []string{"GET", "POST"}[i%2]
				if path == "/shared" {
					method = "GET"
				}
				path = fmt.Sprintf("%s?%s-%d", path, protocol, i)
				all = append(all, asked{ssetest.Get(t, client, server.URL(protocol, path), ssetest.With("X-Until", until), func(r *http.Request) { r.Method = method }), path, method})
			}
		}
	}
	for _, a := range all {
		if a.stream.WaitEvents(1); a.stream.Status != 200 {
			t.Errorf("%s: %v", a.path, a.stream)
		}
		if err := a.stream.WaitEnd(); (err == nil) != (a.method == "GET") {
			t.Errorf("%s %s ended with %v", a.method, a.path, err)
		}
		if access := waitAccessLog(server, a.path); access.Fields["end_reason"] != stream.EndExpired {
			t.Errorf("%s: access log: %v", a.path, access.Fields)
		}
	}
}

func TestARequestWhoseTimeIsOverOrUnreadableIsRefused(t *testing.T) {
	ssetest.NoLeaks(t)
	var asked atomic.Int64
	next := nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		saying(ndjson, "1\n")(w, r)
	})
	server := ssetest.Start(t, site("expires {header.X-Until}", next))
	before := counted(t, metrics.StreamsRefused.WithLabelValues("", metrics.RefusedExpired))
	refused := []string{"2001-01-01T00:00:00Z", "1", "0", "-1e300", "tomorrow", "NaN", "2999-13-01T00:00:00Z"}
	for _, until := range refused {
		if s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/"), ssetest.With("X-Until", until)); s.Status != http.StatusForbidden {
			t.Errorf("%q: got %v", until, s)
		}
	}
	if n := counted(t, metrics.StreamsRefused.WithLabelValues("", metrics.RefusedExpired)) - before; n != float64(len(refused)) {
		t.Errorf("%v refusals are counted, want %d", n, len(refused))
	}
	if asked.Load() > 0 {
		t.Error("the upstream was asked")
	}
	for _, until := range []string{"", "2999-01-01T00:00:00Z", "1e300", "99999999999999999999", "+Inf"} {
		s := get(t, server, "/", ssetest.With("X-Until", until))
		if raw := wholeBody(t, s); raw != ":\ndata: 1\n\n" {
			t.Errorf("%q: got %q", until, raw)
		}
	}
}

// guard is a server that says who is still logged in.
type guard struct {
	revoked, down atomic.Bool
	asked         atomic.Int64
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.asked.Add(1)
	switch {
	case g.down.Load():
		w.WriteHeader(http.StatusInternalServerError)
	case g.revoked.Load() || r.Header.Get("Cookie") != "session=1":
		w.Header().Set("WWW-Authenticate", "Session")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, "log in")
	default:
		w.Header().Set("X-User", "alice")
	}
}

func TestARevokedSessionEndsItsStreamsAndAServerThatIsDownEndsNone(t *testing.T) {
	ssetest.NoLeaks(t)
	const interval, clients = time.Second, 60
	var sessions guard
	recheck := fmt.Sprintf("recheck %s {\nforward_auth %s {\nuri /check\ncopy_headers X-User\n}\n}\n", interval, ssetest.Upstream(t, sessions.ServeHTTP))
	asked := make(chan string, 9)
	records := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method == http.MethodPost {
			asked <- r.Header.Get("X-User") + " " + string(body)
		}
		staying(ndjson, "1\n")(w, r)
	})
	events := ssetest.Upstream(t, staying("text/event-stream", "data: 1\n\n"))
	server := ssetest.Start(t, ssetest.Site(logging+route("/next", recheck, "reverse_proxy "+records)+route("/passed", recheck, "reverse_proxy "+events)+
		route("/shared", recheck+"backend http http://"+records+"\nshare {\nreplay 9\nlinger 0\n}", "")))
	paths := []string{"/next?", "/passed?", "/shared?"}
	session := ssetest.With("Cookie", "session=1")

	refusals := counted(t, metrics.StreamsRefused.WithLabelValues("", metrics.RefusedUnauthorized))
	for _, path := range paths {
		if s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", path)); wholeBody(t, s) != "log in" || s.Status != http.StatusUnauthorized || s.Header.Get("WWW-Authenticate") != "Session" {
			t.Errorf("%s without a session: %v, header %v", path, s, s.Header)
		}
	}
	sessions.down.Store(true)
	if s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/next"), session); s.Status != http.StatusInternalServerError {
		t.Errorf("while nobody can say: %v", s)
	}
	sessions.down.Store(false)
	if n := counted(t, metrics.StreamsRefused.WithLabelValues("", metrics.RefusedUnauthorized)) - refusals; n != float64(len(paths)+1) {
		t.Errorf("%v refusals are counted, want %d", n, len(paths)+1)
	}

	streams := make(map[string]*ssetest.Stream)
	for i := range clients {
		protocol := ssetest.Protocols[i%len(ssetest.Protocols)]
		path := fmt.Sprintf("%s%d", paths[i%len(paths)], i)
		streams[path] = getOver(t, server, protocol, path, session)
	}
	answer := getOver(t, server, "h2", "/next?answer", session, func(r *http.Request) {
		r.Method, r.Body, r.ContentLength = http.MethodPost, io.NopCloser(strings.NewReader("question")), -1
	})
	if got := <-asked; got != "alice question" {
		t.Errorf("the upstream was asked with %q", got)
	}
	answer.WaitEvents(1)
	for _, s := range streams {
		s.WaitEvents(1)
	}
	sessions.down.Store(true)
	before := sessions.asked.Load()
	ssetest.Wait(t, "two checks of each stream", func() bool { return sessions.asked.Load()-before > 5*clients/2 })
	if n := len(stream.List()); n != clients+1 {
		t.Fatalf("%d streams are open, want %d: %v", n, clients+1, ended(server))
	}
	sessions.down.Store(false)
	sessions.revoked.Store(true)
	for path, s := range streams {
		_ = wholeBody(t, s)
		if access := waitAccessLog(server, path); access.Fields["end_reason"] != stream.EndUnauthorized {
			t.Errorf("%s: access log: %v", path, access.Fields)
		}
	}
	_ = brokenBody(t, answer)
	if s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/next"), session); s.Status != http.StatusUnauthorized {
		t.Errorf("a client that returns: %v", s)
	}
}

// ended are the reasons why streams have ended so far.
func ended(server *ssetest.Server) (reasons []any) {
	for _, l := range server.Logs() {
		if l.Message == "stream ended" || l.Message == "handled request" {
			reasons = append(reasons, l.Message, l.Fields["end_reason"], l.Fields["uri"])
		}
	}
	return reasons
}

func TestAFailingCheckEndsNoStreamAndLeavesNothingBehind(t *testing.T) {
	ssetest.NoLeaks(t)
	var asked atomic.Int64
	left := make(chan struct{})
	check := nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		switch asked.Add(1) {
		case 2:
			panic("the test says so")
		case 3: // longer than the interval
			<-r.Context().Done()
			w.WriteHeader(http.StatusUnauthorized)
		case 4:
			panic(http.ErrAbortHandler)
		case 5:
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write(make([]byte, 1<<20))
		case 6: // as long as the stream
			<-r.Context().Done()
			close(left)
		default:
			w.Header().Set(passOn, "1")
		}
	})
	upstream := ssetest.Upstream(t, staying(ndjson, "1\n"))
	server := ssetest.Start(t, site("recheck 300ms {\n"+check+"\n}", "reverse_proxy "+upstream))
	s := get(t, server, "/")
	s.WaitEvents(1)
	ssetest.Wait(t, "six checks", func() bool { return asked.Load() == 6 })
	if len(stream.List()) != 1 {
		t.Errorf("the stream has ended: %v, %v", s, ended(server))
	}
	s.Close()
	<-left
	waitAccessLog(server, "/")
}

func TestRecheckRunsTheSitesMatchersAndIsAskedBeforeAllElse(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := ssetest.Upstream(t, saying(ndjson, "1\n"))
	server := ssetest.Start(t, ssetest.Site("@guest not header X-Member yes\n"+
		route("/viewed", "viewer\nend done stop\nrecheck 1m {\nrespond @guest \"members only\" 403\n}\nbackend http http://"+upstream, "")))
	member := ssetest.With("X-Member", "yes")
	for name, request := range map[string]func(*http.Request){
		"viewer":     ssetest.With("Accept", "text/html"),
		"HEAD":       func(r *http.Request) { r.Method = http.MethodHead },
		"after stop": ssetest.LastEventID("sse-end"),
		"no Accept":  ssetest.With("Accept", "image/png"),
		"POST":       func(r *http.Request) { r.Method = http.MethodPost },
		"an upgrade": func(r *http.Request) { r.Header.Set("Connection", "Upgrade"); r.Header.Set("Upgrade", "websocket") },
		"a partial":  ssetest.With("Range", "bytes=0-1"),
		"GET":        func(*http.Request) {},
	} {
		if s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/viewed"), request); s.Status != http.StatusForbidden {
			t.Errorf("%s of a guest: %v", name, s)
		}
	}
	if raw := wholeBody(t, get(t, server, "/viewed", member)); !strings.HasPrefix(raw, ":\ndata: 1\n\n") {
		t.Errorf("got %q", raw)
	}
}
