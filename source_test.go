package sse_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	sse "github.com/seed-4dedbcea/caddy-sse"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestClientsAreLetInWhileTheUpstreamIsDownAndStayThroughOutages(t *testing.T) {
	server, u := sharing(t, "")
	u.refuse(errHub)
	first, second := get(t, server, "/"), get(t, server, "/")
	u.waitJoin(t, 2)
	u.refuse(nil)
	u.wait(t, 1)
	waitOpen(t, second)
	u.say("1\n")
	u.end(nil) // clean or not, it is opened anew
	u.wait(t, 1)
	u.say("2\n")
	u.end(errHub)
	u.wait(t, 1)
	u.say("3\n")
	wantEvents(t, first, "1 2 3")
	wantEvents(t, second, "1 2 3")

	down, back := 0, 0
	for _, l := range server.Logs() {
		switch l.Message {
		case "upstream failed, connecting anew":
			down++
		case "upstream is back":
			back++
		}
	}
	if down < 1 || back < 1 || down > 2 || back > 2 {
		t.Errorf("logged down %d times, back %d times", down, back)
	}
}

func TestARecordIsCompleteOnlyIfTheUpstreamEndsCleanly(t *testing.T) {
	server, u := sharing(t, "")
	client := get(t, server, "/")
	u.wait(t, 1)
	u.say("1\nbroken")
	u.end(errHub)
	u.wait(t, 1)
	u.say("2\nwhole")
	u.end(nil)
	wantEvents(t, client, "1 2 whole")
}

func TestAllGetTheEndEventAndANewClientOpensANewSource(t *testing.T) {
	server, u := sharing(t, "end over")
	a, b := get(t, server, "/"), get(t, server, "/?lastEventId=x")
	waitOpen(t, b)
	u.wait(t, 1)
	u.say("1\n")
	u.end(nil)
	for _, s := range []*ssetest.Stream{a, b} {
		if body := wholeBody(t, s); !strings.HasSuffix(body, "event: over\ndata: over\n\n") {
			t.Errorf("no end event: %q", body)
		}
	}
	c := get(t, server, "/")
	u.wait(t, 1)
	u.say("2\n")
	wantEvents(t, c, "2")
}

func TestARouteWithoutAnEndEventStaysOpenBesideOneThatHasIt(t *testing.T) {
	u := newHub(t)
	route := func(path, options string) string {
		return "handle " + path + " {\nsse {\nbackend test_hub " + u.name + "\nshare\n" + options + "\n}\n}\n"
	}
	for name, routes := range map[string]string{
		"before": route("/ends", "end over") + route("/stays", ""),
		"after":  route("/stays", "") + route("/ends", "end over"),
	} {
		t.Run(name, func(t *testing.T) {
			server := startSharing(t, ssetest.Site(routes))
			ends, stays := get(t, server, "/ends"), get(t, server, "/stays")
			waitOpen(t, stays)
			u.wait(t, 2)
			u.end(nil)
			if body := wholeBody(t, ends); !strings.HasSuffix(body, "event: over\ndata: over\n\n") {
				t.Errorf("no end event: %q", body)
			}
			u.wait(t, 1)
			u.say("1\n")
			wantEvents(t, stays, "1")
			stays.Close()
		})
	}
}

func TestAnUpstreamThatHasEndedForGoodIsNotOpenedAnew(t *testing.T) {
	server, u := sharing(t, "share {\nreplay 9\n}")
	a := get(t, server, "/")
	u.wait(t, 1)
	u.say("1\n2\n")
	u.end(sse.ErrEnded)
	_ = wholeBody(t, a)
	b := get(t, server, "/", ssetest.LastEventID(a.Events()[0].ID))
	_ = wholeBody(t, b)
	if texts(a.Events()) != "1 2" || texts(b.Events()) != "2" || len(u.joined()) != 1 {
		t.Errorf("%q, then %q by %d connections", texts(a.Events()), texts(b.Events()), len(u.joined()))
	}
}

func TestTheLastIDIsHandedToTheUpstream(t *testing.T) {
	for name, tc := range map[string]struct{ options, say, want string }{
		"none":                      {"", "1\n", ""},
		"of the config":             {"id c{record.id}", "{\"id\":1}\n{\"id\":2}\n", "c2"},
		"of a config that filters":  {"id c{record.id}\nwhere record.id==1", "{\"id\":1}\n{\"id\":2}\n", "c1"},
		"where each maps otherwise": {"id c{record.id}\ndata {query.x}", "{\"id\":1}\n{\"id\":2}\n", "c2"},
		"that cannot be sent":       {"id {record.id}", "{\"id\":\"a\"}\n{\"id\":\"x\\ny\"}\n", "a"},
		"nor where each maps":       {"id {record.id}\ndata {query.x}", "{\"id\":\"a\"}\n{\"id\":\"x\\ny\"}\n", "a"},
		"of the upstream":           {"format event_stream", "id: up\ndata: 1\n\n", "up"},
	} {
		t.Run(name, func(t *testing.T) {
			server, u := sharing(t, tc.options)
			get(t, server, "/", ssetest.LastEventID("a client's own"))
			if got := u.waitJoin(t, 1).lastID; got != "" {
				t.Errorf("at first it is %q", got)
			}
			u.wait(t, 1)
			u.say(tc.say)
			u.end(errHub)
			if got := u.waitJoin(t, 2).lastID; got != tc.want {
				t.Errorf("last id %q, want %q", got, tc.want)
			}
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
		u.end(errHub)
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

func TestSourceHistoryAndEpochSurviveAReload(t *testing.T) {
	for name, tc := range reloads(t) {
		t.Run(name, func(t *testing.T) {
			record := func(n int) string {
				if tc.gap || tc.joins == 1 {
					return fmt.Sprintln(n)
				}
				return fmt.Sprintf("id: up%d\ndata: %d\n\n", n, n)
			}
			server := startSharing(t, tc.config("share {\nhistory 3\n}"))
			a := get(t, server, "/")
			tc.hub.wait(t, 1)
			tc.hub.say(record(1), record(2), record(3), record(4))
			first := wantEvents(t, a, "1 2 3 4")
			server.Reload(tc.config("share {\nhistory 5\n}"))
			_ = wholeBody(t, a)
			tc.hub.say(record(5)) // while nobody is there
			ssetest.Wait(t, "it to be recorded", func() bool { return theSource(t).Records == 5 })
			b := get(t, server, "/", ssetest.LastEventID(first[1].ID))
			want := []string{"3", "4", "5"}
			if tc.joins > 1 {
				if seen := tc.hub.waitJoin(t, 2); !tc.gap && seen.lastID != "up5" {
					t.Errorf("the new connection resumes after %q, want up5", seen.lastID)
				}
				tc.hub.wait(t, 1)
			}
			if tc.gap {
				want = append(want, fmt.Sprintf(`{"reason":"upstream","last_event_id":%q}`, b.WaitEvents(3)[2].ID))
			}
			tc.hub.say(record(6))
			wantEvents(t, b, strings.Join(append(want, "6"), " "))
			tc.hub.say(record(7))
			b.WaitEvents(len(want) + 2)
			// The new history is longer.
			if got := texts(get(t, server, "/", ssetest.LastEventID(first[2].ID)).WaitEvents(4 + b2i(tc.gap))); !strings.HasSuffix(got, "6 7") || !strings.HasPrefix(got, "4 5") {
				t.Errorf("history after the reload: %q", got)
			}
			if n := len(tc.hub.joined()); n != tc.joins {
				t.Errorf("%d upstream connections, want %d", n, tc.joins)
			}
			theSource(t)
		})
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestANewMappingTakesEffectOnReloadAndOldIDsStillResume(t *testing.T) {
	server, u := sharing(t, "share {\nhistory 4\n}")
	a := get(t, server, "/")
	u.wait(t, 1)
	u.say(numbers(1, 9))
	old := wantEvents(t, a, "1 2 3 4 5 6 7 8 9")
	server.Reload(shared(u, "data new{record}\nwhere record!=7\nshare {\nhistory 4\n}"))
	_ = wholeBody(t, a)
	wantEvents(t, get(t, server, "/", ssetest.LastEventID(old[5].ID)), "new8 new9")
	lost := get(t, server, "/", ssetest.LastEventID(old[1].ID))
	if e := lost.WaitEvents(5); e[0].Type != frame.TypeGap || texts(e[1:]) != "new5 new6 new8 new9" {
		t.Errorf("an id from before the history: %s", lost)
	}
	server.Reload(shared(u, "id id{record}\nshare {\nhistory 4\n}"))
	b := get(t, server, "/", ssetest.LastEventID(old[7].ID))
	if e := wantEvents(t, b, "9"); e[0].ID != "id9" {
		t.Errorf("id %q", e[0].ID)
	}
	if len(u.joined()) != 1 {
		t.Errorf("%d upstream connections, want 1", len(u.joined()))
	}
}
