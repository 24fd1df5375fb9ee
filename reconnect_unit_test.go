package sse

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// connections is an Upstream that notes when it is opened.
type connections struct {
	last   time.Duration // how long each of them lasts
	opened []time.Time
}

func (*connections) Key() string { return "connections" }

func (c *connections) Stream(ctx context.Context, _ string, sink Sink) error {
	c.opened = append(c.opened, time.Now())
	if c.last > 0 {
		if _, err := sink.Open(""); err != nil {
			return err
		}
	}
	select {
	case <-time.After(c.last):
		return errTest
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestTheWaitBeforeAReconnectGrowsWithFailuresButNotWithSilence(t *testing.T) {
	for name, tc := range map[string]struct {
		last, atLeast, atMost time.Duration // the connection, and the longest of the waits
	}{
		"refused":                       {0, 2 * minBackoff, maxBackoff},
		"soon broken off":               {time.Second, 2 * minBackoff, maxBackoff},
		"broken off after long silence": {time.Hour, 0, minBackoff},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := testServer(t, skipsLag)
				upstream := &connections{last: tc.last}
				s := newSource(c, "", upstream)
				s.enter(&delivery{view: &view{server: c}})
				go s.run()
				time.Sleep(30 * (tc.last + maxBackoff))
				s.cancel()
				<-s.done

				var longest time.Duration
				for i, at := range upstream.opened[1:] {
					longest = max(longest, at.Sub(upstream.opened[i])-tc.last)
				}
				if longest < tc.atLeast || longest > tc.atMost {
					t.Errorf("the longest of %d waits is %v, want from %v to %v", len(upstream.opened), longest, tc.atLeast, tc.atMost)
				}
			})
		})
	}
}

// viaProxy is a site whose next handler is a reverse_proxy to the hub.
func viaProxy(address, options string) string {
	return site("drain 50ms\n"+options, "reverse_proxy "+address+" {\nheader_up X-Own yes\n}")
}

func TestTheNextHandlerIsAskedByARequestOfTheSourcesOwn(t *testing.T) {
	u := newHub(t)
	server := startSharing(t, viaProxy(ssetest.Upstream(t, u.ServeHTTP), "share"))
	get(t, server, "/a?b=c", ssetest.LastEventID("x"), ssetest.With("Cookie", "c=1"), ssetest.With("Authorization", "Basic eDp5"),
		ssetest.With("User-Agent", "browser"), ssetest.With("X-Forwarded-For", "192.0.2.1"), ssetest.With("X-Any", "1"))
	seen := u.waitJoin(t, 1)
	for _, name := range []string{"Last-Event-Id", "Cookie", "Authorization", "User-Agent", "X-Any"} {
		if value, ok := seen.header[name]; ok && value[0] != "" {
			t.Errorf("upstream got %s: %q", name, value)
		}
	}
	for name, want := range map[string]string{"X-Own": "yes", "Accept-Encoding": "identity", "X-Forwarded-For": "0.0.0.0"} {
		if got := seen.header.Get(name); got != want {
			t.Errorf("upstream got %s: %q, want %q", name, got, want)
		}
	}
	if !strings.HasPrefix(seen.host, "localhost:") || seen.path != "/a?b=c" {
		t.Errorf("upstream got %s%s", seen.host, seen.path)
	}
}

// A client that names its last event in the query comes back to the source that it has left, though the URL differs.
func TestTheQuerysLastEventIDIsNotPartOfWhatIsShared(t *testing.T) {
	u := newHub(t)
	address := ssetest.Upstream(t, u.ServeHTTP)
	for name, config := range map[string]string{
		"next handler":               viaProxy(address, "share"),
		"next handler, key with URI": viaProxy(address, "share {host}{uri}"),
		"next handler, rewritten":    site("share", "route {\nrewrite /x{uri}\nreverse_proxy "+address+"\n}"),
		"backend with URI":           site("backend http http://"+address+"/a?b=%C3%A4&c {\nheader X-URI {uri}\n}\nshare", ""),
	} {
		t.Run(name, func(t *testing.T) {
			before := len(u.joined())
			server := startSharing(t, config)
			first := get(t, server, "/a?b=%C3%A4&c")
			u.wait(t, 1)
			u.say("1\n", "2\n")
			id := first.WaitEvents(1)[0].ID
			wantEvents(t, get(t, server, "/a?b=%C3%A4&c&lastEventId="+id), "2")
			wantEvents(t, get(t, server, "/a?lastEventId="+id+"&b=%C3%A4&c"), "2")
			wantEvents(t, get(t, server, "/a?lastEventId=unknown&b=%C3%A4&c", ssetest.LastEventID(id)), "2")
			if joins := u.joined()[before:]; len(joins) != 1 || !strings.HasSuffix(joins[0].path, "/a?b=%C3%A4&c") {
				t.Errorf("upstream connections: %+v", joins)
			}
		})
	}

	t.Run("nor does it reach the upstream", func(t *testing.T) {
		before := len(u.joined())
		server := startSharing(t, viaProxy(address, "share"))
		get(t, server, "/b?lastEventId=x")
		if seen := u.waitJoin(t, before+1); seen.path != "/b" || seen.lastID != "" {
			t.Errorf("upstream was asked for %s after %q", seen.path, seen.lastID)
		}
	})
}

func TestANetworksOwnHandlersAreNotReachedThroughASource(t *testing.T) {
	u := newHub(t)
	server := startSharing(t, ssetest.Site("root * /srv/data\nsse {\nshare\n}\n"+
		"@inside remote_ip private_ranges\nhandle @inside {\nrespond inside\n}\n"+
		"handle_path /api/* {\nreverse_proxy "+ssetest.Upstream(t, u.ServeHTTP)+" {\nheader_up X-Root {http.vars.root}\n}\n}"))
	client := get(t, server, "/api/x")
	for n := 1; n <= 2; n++ { // handlers rewrite the request, each time anew
		if seen := u.waitJoin(t, n); seen.path != "/x" || seen.header.Get("X-Root") != "/srv/data" {
			t.Errorf("request %d: path %q, root %q", n, seen.path, seen.header.Get("X-Root"))
		}
		u.wait(t, 1)
		u.say(fmt.Sprintln(n))
		u.end(errTest)
	}
	wantEvents(t, client, "1 2")
}

func TestRoutesThatRewriteToTheSameURIDoNotShare(t *testing.T) {
	u := newHub(t)
	address := ssetest.Upstream(t, u.ServeHTTP)
	route := func(prefix string) string {
		return "handle_path /" + prefix + "/* {\nsse {\nshare\n}\nreverse_proxy " + address + "/ {\nheader_up X-Route " + prefix + "\n}\n}\n"
	}
	server := startSharing(t, ssetest.Site(strings.ReplaceAll(route("a")+route("b"), address+"/", address)))
	for i, prefix := range []string{"a", "b"} {
		waitOpen(t, get(t, server, "/"+prefix+"/x"))
		waitOpen(t, get(t, server, "/"+prefix+"/x"))
		if seen := u.waitJoin(t, i+1); seen.header.Get("X-Route") != prefix || seen.path != "/x" {
			t.Errorf("route %s was asked for %s by route %s", prefix, seen.path, seen.header.Get("X-Route"))
		}
	}
	if len(u.joined()) != 2 {
		t.Errorf("%d upstream connections, want 2", len(u.joined()))
	}
}

func TestAnAnswerOfTheNextHandlerThatIsNotRecordsIsAFailure(t *testing.T) {
	u := newHub(t)
	answers := []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>")
		},
		func(w http.ResponseWriter, r *http.Request) { // and never ends
			w.WriteHeader(http.StatusInternalServerError)
			<-r.Context().Done()
		},
		func(http.ResponseWriter, *http.Request) { panic("the test says so") },
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		u.ServeHTTP,
	}
	var asked atomic.Int64
	next := nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		answers[min(int(asked.Add(1)), len(answers))-1](w, r)
	})
	before := counted(t, metrics.Failures.WithLabelValues("", "next"))
	server := startSharing(t, site("share", next))
	client := get(t, server, "/")
	u.wait(t, 1)
	u.say("1\n")
	wantEvents(t, client, "1")
	if n := counted(t, metrics.Failures.WithLabelValues("", "next")) - before; n != float64(len(answers)-1) {
		t.Errorf("%v failures counted, want %d", n, len(answers)-1)
	}
}

func TestAReloadThatMapsAnewCountsNothingTwice(t *testing.T) {
	u := newHub(t)
	config := func(data string) string {
		return shared(u, "data "+data+"{record.n}\nid {record.id}\nwhere record.n>1\nshare {\nreplay 9\n}")
	}
	server := startSharing(t, config("a"))
	client := get(t, server, "/")
	u.wait(t, 1)
	u.say(`{"n":1}` + "\n" + `{"n":2,"id":"\n"}` + "\n" + `{}` + "\n" + `{"n":3}` + "\n")
	wantEvents(t, client, "a2 a3")
	before := []float64{counted(t, metrics.RecordsFiltered.WithLabelValues("")), counted(t, metrics.RecordsDropped.WithLabelValues("", "where_failed")), counted(t, metrics.FieldsDropped.WithLabelValues("", "id"))}
	server.Reload(config("b"))
	again := get(t, server, "/")
	wantEvents(t, again, "b2 b3")
	u.say(`{"n":1}` + "\n" + `{"n":4}` + "\n")
	wantEvents(t, again, "b2 b3 b4")
	after := []float64{counted(t, metrics.RecordsFiltered.WithLabelValues("")) - 1, counted(t, metrics.RecordsDropped.WithLabelValues("", "where_failed")), counted(t, metrics.FieldsDropped.WithLabelValues("", "id"))}
	if !slices.Equal(before, after) {
		t.Errorf("filtered, failed and dropped were counted %v, and after one more was filtered %v beyond that", before, after)
	}
}

// reloads are what a reload is tried with: a config with options, and how a source goes on after it.
func reloads(t *testing.T) map[string]struct {
	hub    *hub
	config func(options string) string
	joins  int // connections after one reload
	gap    bool
} {
	plain, events, backend := newHub(t), newHub(t), newHub(t) // the last one has the name
	events.contentType = "text/event-stream"
	plainAt, eventsAt := ssetest.Upstream(t, plain.ServeHTTP), ssetest.Upstream(t, events.ServeHTTP)
	type reload = struct {
		hub    *hub
		config func(options string) string
		joins  int
		gap    bool
	}
	return map[string]reload{
		"backend":                         {backend, func(o string) string { return shared(backend, o) }, 1, false},
		"next handler":                    {plain, func(o string) string { return viaProxy(plainAt, o) }, 2, true},
		"next handler that resumes by id": {events, func(o string) string { return viaProxy(eventsAt, "format event_stream\n"+o) }, 2, false},
	}
}

func TestASourceWithoutStreamsDoesNotReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testServer(t, skipsLag)
		upstream := new(connections)
		s := newSource(c, "", upstream)
		go s.run()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(upstream.opened); n != 1 {
			t.Errorf("%d connections for nobody, want 1", n)
		}
		d := &delivery{view: &view{server: c}}
		s.enter(d)
		synctest.Wait()
		if n := len(upstream.opened); n != 2 {
			t.Errorf("%d connections once a stream is there, want 2", n)
		}
		s.exit(d)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(upstream.opened); n != 2 {
			t.Errorf("%d connections after it has left, want 2", n)
		}
		s.cancel()
		<-s.done
	})
}

// forgetful is an upstream that cannot go on after the last id.
type forgetful struct{ asked []string }

func (*forgetful) Key() string { return "forgetful" }

func (f *forgetful) Stream(ctx context.Context, lastID string, sink Sink) error {
	f.asked = append(f.asked, lastID)
	if lastID != "" {
		return caddyhttp.Error(http.StatusBadGateway, failure.BadStatus(http.StatusRequestURITooLong))
	}
	in, err := sink.Open("text/event-stream")
	if err != nil {
		return err
	}
	if _, err := in.Write([]byte("id: up\ndata: 1\n\n")); err != nil {
		return err
	}
	return errTest
}

func TestAnIDThatTheUpstreamRefusesIsNotLeftOutForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testServer(t, skipsLag)
		upstream := new(forgetful)
		s := newSource(c, "", upstream)
		s.enter(&delivery{view: &view{server: c}})
		go s.run()
		time.Sleep(10 * time.Minute)
		s.cancel()
		<-s.done
		for i, id := range upstream.asked[:6] {
			if want := []string{"", "up"}[i%2]; id != want {
				t.Errorf("attempt %d with the id %q, want %q", i+1, id, want)
			}
		}
	})
}
