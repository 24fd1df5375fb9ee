package sse_test

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
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
	formats := []func(time.Time) string{
		func(at time.Time) string { return at.Format(time.RFC3339Nano) },
		func(at time.Time) string { return fmt.Sprintf("%.3f", float64(at.UnixMilli())/1000) },
		func(at time.Time) string { return fmt.Sprintf("%.15e", float64(at.UnixMilli())/1000) },
	}
	for _, protocol := range ssetest.Protocols {
		client := ssetest.Client(t, protocol)
		for i, format := range formats {
			for _, path := range []string{"/next", "/passed", "/backend", "/shared"} {
				until := format(time.Now().Add(4 * time.Second)) // long enough for one stream to open on a busy machine
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
	byURI         sync.Map // how often about which, as an *atomic.Int64
}

// least is how often the guard was asked about the stream about which it was asked least.
func (g *guard) least(uris map[string]*ssetest.Stream) int64 {
	least := int64(math.MaxInt64)
	for uri := range uris {
		n := int64(0)
		if count, ok := g.byURI.Load(uri); ok {
			n = count.(*atomic.Int64).Load()
		}
		least = min(least, n)
	}
	return least
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.asked.Add(1)
	count, _ := g.byURI.LoadOrStore(r.Header.Get("X-Forwarded-Uri"), new(atomic.Int64))
	count.(*atomic.Int64).Add(1)
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

// In a soak run there are two hundred of them, and an interval of five seconds.
func TestSoakARevokedSessionEndsItsStreamsAndAServerThatIsDownEndsNone(t *testing.T) {
	ssetest.NoLeaks(t)
	interval, clients := time.Second, 60
	if soaking() {
		interval, clients = 5*time.Second, 200
	}
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
	sessions.byURI.Clear()
	ssetest.Wait(t, "two checks of each stream", func() bool { return sessions.least(streams) >= 2 })
	if n := len(stream.List()); n != clients+1 {
		t.Fatalf("%d streams are open, want %d: %v", n, clients+1, ended(server))
	}
	sessions.down.Store(false)
	sessions.revoked.Store(true)
	revoked := time.Now()
	ssetest.Wait(t, "all streams to end", func() bool { return len(stream.List()) == 0 })
	took := time.Since(revoked)
	t.Logf("%d streams have ended %v after their session, with an interval of %v", clients+1, took.Round(time.Millisecond), interval)
	if soaking() && took > interval*6/5+time.Second {
		t.Errorf("they have ended %v after their session, want it within %v", took, interval*6/5)
	}
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
		case 4: // as reverse_proxy does if its upstream breaks off
			w.WriteHeader(http.StatusBadGateway)
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

func TestAbortAndARefusalThatBreaksOffEndTheStream(t *testing.T) {
	ssetest.NoLeaks(t)
	var revoked atomic.Bool
	refusing := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if revoked.Load() {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, "no")
		}
	})
	aborting := nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Revoked", fmt.Sprint(revoked.Load()))
		w.Header().Set(passOn, "1")
		r.Header.Set("X-Revoked", fmt.Sprint(revoked.Load()))
	})
	records := ssetest.Upstream(t, staying(ndjson, "1\n"))
	server := ssetest.Start(t, ssetest.Site(logging+"@revoked header X-Revoked true\n"+
		route("/abort", "recheck 100ms {\nroute {\n"+aborting+"\nabort @revoked\n}\n}", "reverse_proxy "+records)+
		route("/cut", "recheck 100ms {\nforward_auth "+refusing+" {\nuri /\n}\n}", "reverse_proxy "+records)))
	paths := []string{"/abort", "/cut"}
	var streams []*ssetest.Stream
	for _, path := range paths {
		s := get(t, server, path)
		s.WaitEvents(1)
		streams = append(streams, s)
	}
	revoked.Store(true)
	for i, s := range streams {
		_ = wholeBody(t, s)
		if access := waitAccessLog(server, paths[i]); access.Fields["end_reason"] != stream.EndUnauthorized {
			t.Errorf("%s: access log: %v", paths[i], access.Fields)
		}
	}
	before := counted(t, metrics.StreamsRefused.WithLabelValues("", metrics.RefusedUnauthorized))
	if response, err := ssetest.Client(t, "h1").Get(server.URL("h1", "/abort")); err == nil {
		_ = response.Body.Close()
		t.Errorf("a client that returns: %d, want none", response.StatusCode)
	}
	ssetest.Wait(t, "the refusal to be counted", func() bool {
		return counted(t, metrics.StreamsRefused.WithLabelValues("", metrics.RefusedUnauthorized)) == before+1
	})
}

// A client decides by its Accept header whether text is converted, but not how long it gets it.
func TestAResponseThatPassesUnchangedEndsWithTheRightsToIt(t *testing.T) {
	ssetest.NoLeaks(t)
	var sessions guard
	var left atomic.Int64
	endless := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		for {
			if _, err := io.WriteString(w, "secret\n"); err != nil || http.NewResponseController(w).Flush() != nil {
				left.Add(1)
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	recheck := "recheck 200ms {\nforward_auth " + ssetest.Upstream(t, sessions.ServeHTTP) + " {\nuri /check\n}\n}\n"
	const expires = "expires {header.X-Until}\n"
	proxied, next := "reverse_proxy "+ssetest.Upstream(t, endless), nextHandler(t, endless)
	copying := "in_process copying"
	inProcess.Store("copying", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		read, write := io.Pipe()
		go func() {
			for {
				if _, err := io.WriteString(write, strings.Repeat("secret\n", 1000)); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}()
		w.Header().Set("Content-Type", "text/plain")
		_, err := io.Copy(w, read)
		read.CloseWithError(err)
	}))
	server := ssetest.Start(t, ssetest.Site(logging+
		route("/expires/proxied", expires, proxied)+route("/recheck/proxied", recheck, proxied)+
		route("/expires/next", expires, next)+route("/recheck/next", recheck, next)+
		route("/expires/copying", expires, copying)+route("/recheck/copying", recheck, copying)))
	streams := make(map[string]*ssetest.Stream)
	for _, protocol := range ssetest.Protocols {
		client := ssetest.Client(t, protocol)
		for _, option := range []string{"/expires", "/recheck"} {
			for _, kind := range []string{"/proxied", "/next", "/copying"} {
				path := option + kind
				until := ssetest.With("X-Until", time.Now().Add(4*time.Second).Format(time.RFC3339Nano))
				s := ssetest.Get(t, client, server.URL(protocol, path), ssetest.With("Accept", "*/*"), ssetest.With("Cookie", "session=1"), until)
				if s.Status != http.StatusOK || s.Header.Get("Content-Type") != "text/plain" {
					t.Fatalf("%s: %v, header %v", path, s, s.Header)
				}
				streams[protocol+path] = s
			}
		}
	}
	for name, s := range streams {
		ssetest.Wait(t, "text for "+name, func() bool { return strings.Contains(s.Raw(), "secret\n") })
	}
	sessions.revoked.Store(true)
	for _, s := range streams {
		_ = brokenBody(t, s)
	}
	ssetest.Wait(t, "the handlers to end", func() bool { return left.Load() == int64(2*2*len(ssetest.Protocols)) })
}

func TestAnIntervalOfCenturiesIsOne(t *testing.T) {
	ssetest.NoLeaks(t)
	var sessions guard
	upstream := ssetest.Upstream(t, staying(ndjson, "1\n"))
	auth := "{\nforward_auth " + ssetest.Upstream(t, sessions.ServeHTTP) + " {\nuri /check\n}\n}\n"
	server := ssetest.Start(t, ssetest.Site(route("/one", "recheck 700000h "+auth, "reverse_proxy "+upstream)+route("/two", "recheck 2000000h "+auth, "reverse_proxy "+upstream)))
	for _, path := range []string{"/one", "/two"} {
		get(t, server, path, ssetest.With("Cookie", "session=1")).WaitEvents(1)
	}
	if n := sessions.asked.Load(); n != 2 {
		t.Errorf("%d checks, want one of each stream", n)
	}
}
