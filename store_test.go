package sse_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/memorystore"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
	"github.com/seed-4dedbcea/caddy-sse/store"
)

// memoryStore is `store test_memory <engine> <process>`. Each process has a connection, and so a source, of its own.
type memoryStore struct {
	Engine  string `json:"engine"`
	Process string `json:"process"`
}

var engines sync.Map // by name

func init() { caddy.RegisterModule(new(memoryStore)) }

func (*memoryStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.sse.stores.test_memory", New: func() caddy.Module { return new(memoryStore) }}
}

func (s *memoryStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.Args(&s.Engine, &s.Process) {
		return d.ArgErr()
	}
	return nil
}

func (s *memoryStore) Key() string { return s.Engine + " " + s.Process }

func (*memoryStore) Settings() store.Settings {
	return store.Settings{Count: 1000, Size: 1 << 20, Age: time.Hour, Lease: time.Second}
}

func (s *memoryStore) Open(report func(error)) (store.Store, error) {
	e, ok := engines.Load(s.Engine)
	if !ok {
		return nil, errors.New("there is no such engine")
	}
	go report(nil)
	return e.(*memorystore.Engine).Connect(), nil
}

// newEngine returns an engine and its name.
func newEngine(t testing.TB) (engine *memorystore.Engine, name string) {
	engine, name = memorystore.New(), strings.ReplaceAll(t.Name(), " ", "_")
	engines.Store(name, engine)
	t.Cleanup(func() { engines.Delete(name) })
	return engine, name
}

// fleetSite is a site in which the paths /1/…, /2/… are as if they were processes of a fleet. They share by the rest of the
// path.
func fleetSite(engine string, processes int, backend, options, more string) string {
	var routes strings.Builder
	for i := range processes {
		fmt.Fprintf(&routes, "handle_path /%d/* {\nsse {\nbackend %s\ndrain 50ms\n%s\nshare {path} {\nstore test_memory %s %d\n%s\n}\n}\n}\n", i+1, backend, options, engine, i+1, more)
	}
	return ssetest.Site(routes.String())
}

func startFleet(t *testing.T, processes int, options, more string) (*ssetest.Server, *hub, *memorystore.Engine) {
	t.Helper()
	u := newHub(t)
	engine, name := newEngine(t)
	return startSharing(t, fleetSite(name, processes, "test_hub "+u.name, options, more)), u, engine
}

func TestProcessesWithTheSameStoreHaveOneUpstreamAndOneHistory(t *testing.T) {
	server, u, _ := startFleet(t, 3, "", "")
	one, two := get(t, server, "/1/x"), get(t, server, "/2/x")
	u.wait(t, 1)
	waitOpen(t, one)
	waitOpen(t, two)
	u.say("1\n2\n", "3\n")
	first, second := wantEvents(t, one, "1 2 3"), wantEvents(t, two, "1 2 3")
	for i := range first {
		if first[i].ID != second[i].ID || first[i].ID == "" {
			t.Errorf("event %d has the ids %q and %q", i, first[i].ID, second[i].ID)
		}
	}
	// A third process, which has heard of nothing, goes on where another was left.
	wantEvents(t, get(t, server, "/3/x", ssetest.LastEventID(first[0].ID)), "2 3")
	if n := len(u.joined()); n != 1 {
		t.Errorf("%d upstream connections, want 1", n)
	}
	other := get(t, server, "/2/y")
	u.wait(t, 2) // other sources have others
	other.Close()
}

func TestASourceInAStoreLastsAsLongAsAnyProcessHasClients(t *testing.T) {
	server, u, _ := startFleet(t, 2, "", "linger 0")
	one := get(t, server, "/1/x")
	u.wait(t, 1)
	waitOpen(t, one)
	two := get(t, server, "/2/x")
	waitOpen(t, two)
	ssetest.Wait(t, "the processes to know of each other", func() bool { return len(share.List()) == 2 })
	u.say("1\n")
	wantEvents(t, two, "1")
	time.Sleep(500 * time.Millisecond) // they announce themselves five times a second
	one.Close()
	time.Sleep(1500 * time.Millisecond)
	if n := len(u.joined()); n != 1 || len(u.connected()) != 1 {
		t.Errorf("%d connections, %d of them open; want 1", n, len(u.connected()))
	}
	u.say("2\n")
	wantEvents(t, two, "1 2")
	two.Close()
	u.wait(t, 0)
	ssetest.Wait(t, "the sources to be closed", func() bool { return len(share.List()) == 0 })
}

func TestAnAnswerInAStoreIsTakenUpAgainAtAnyProcess(t *testing.T) {
	m := newModel(t)
	_, name := newEngine(t)
	upstream := ssetest.Upstream(t, m.ServeHTTP)
	server := startSharing(t, fleetSite(name, 3, "http http://"+upstream+"{path} {\nmethod POST\nbody question\n}", "end \"\" [DONE]", "replay all\nopen POST\nstop DELETE\nlinger 1m\nkeep 1m"))
	ask := func(path string, options ...func(*http.Request)) *ssetest.Stream {
		return ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", path), options...)
	}
	for _, process := range []string{"/1", "/2"} {
		if s := ask(process + "/a"); s.Status != http.StatusNoContent {
			t.Errorf("GET before there is an answer: %v", s)
		}
	}
	page := ask("/1/a", method("POST", "question"))
	<-m.asked
	m.wait(t, 1)
	m.say("1\n2\n")
	first := wantEvents(t, page, "1 2")[0].ID
	page.Close()
	m.say("3\n")
	again := ask("/2/a", method("POST", "question"))
	live, resumed := ask("/2/a"), ask("/3/a", ssetest.LastEventID(first))
	wantEvents(t, again, "1 2 3")
	wantEvents(t, live, "1 2 3")
	wantEvents(t, resumed, "2 3")
	m.say("4\n")
	m.end(nil)
	for _, s := range []*ssetest.Stream{live, again} {
		if _ = wholeBody(t, s); texts(s.Events()) != "1 2 3 4 [DONE]" {
			t.Errorf("got %q", s.Raw())
		}
	}
	if _ = wholeBody(t, resumed); texts(resumed.Events()) != "2 3 4 [DONE]" {
		t.Errorf("got %q", resumed.Raw())
	}
	for _, process := range []string{"/1", "/2", "/3"} {
		if late := ask(process + "/a"); wholeBody(t, late) == "" || texts(late.Events()) != "1 2 3 4 [DONE]" {
			t.Errorf("%s after the end: %q", process, late.Raw())
		}
	}
	if n := len(m.asked); n > 0 {
		t.Errorf("the model was asked %d times more", n)
	}
	// A new question never sees the old answer, wherever it is asked.
	next := ask("/3/a", method("POST", "question"))
	<-m.asked
	m.wait(t, 1)
	m.say("5\n")
	wantEvents(t, next, "5")
	other := ask("/1/a")
	wantEvents(t, other, "5")
	// Stopped at a third process, it ends for all.
	if s := ask("/2/a", method("DELETE", "")); s.Status != http.StatusNoContent {
		t.Errorf("DELETE: %v", s)
	}
	for _, s := range []*ssetest.Stream{next, other} {
		if _ = wholeBody(t, s); texts(s.Events()) != "5 [DONE]" {
			t.Errorf("got %q", s.Raw())
		}
	}
	m.wait(t, 0)
	if s := ask("/2/b", method("DELETE", "")); s.Status != http.StatusNotFound {
		t.Errorf("DELETE of nothing: %v", s)
	}
}

func TestWhileTheStoreDoesNotAnswerStreamsStayOpenAndNothingIsLost(t *testing.T) {
	server, u, engine := startFleet(t, 2, "heartbeat 200ms", "")
	one := get(t, server, "/1/x")
	u.wait(t, 1)
	waitOpen(t, one)
	u.say("1\n")
	id := wantEvents(t, one, "1")[0].ID
	engine.SetDown(true)
	u.say("2\n3\n")
	cold := get(t, server, "/2/x", ssetest.LastEventID(id)) // of a process that has nothing yet
	warm := get(t, server, "/1/x", ssetest.LastEventID(strings.Split(id, "-")[0]+"-0"))
	wantEvents(t, warm, "1")
	one.WaitComments(len(one.Comments()) + 3)
	cold.WaitComments(3)
	if cold.Status != 200 || len(cold.Events()) > 0 || len(one.Events()) != 1 {
		t.Errorf("without its store: %v\n%v", cold, one)
	}
	engine.SetDown(false)
	wantEvents(t, one, "1 2 3")
	wantEvents(t, warm, "1 2 3")
	wantEvents(t, cold, "2 3")
}

func TestAStoreThatHasLostEventsIsNoSecret(t *testing.T) {
	server, u, engine := startFleet(t, 2, "", "")
	one := get(t, server, "/1/x")
	u.wait(t, 1)
	waitOpen(t, one)
	two := get(t, server, "/2/x")
	waitOpen(t, two)
	u.say("1\n", "2\n")
	wantEvents(t, one, "1 2")
	before := wantEvents(t, two, "1 2")[1].ID
	engine.Lose(1)
	for _, s := range []*ssetest.Stream{one, two} {
		var after ssetest.Event
		ssetest.Wait(t, "an event after the loss", func() bool {
			u.say("3\n")
			after = s.Events()[len(s.Events())-1]
			return after.Data == "3"
		})
		if gap := s.Events()[2]; gap.Type != "sse-gap" || !strings.Contains(gap.Data, `"store"`) {
			t.Errorf("%v", s)
		}
		if strings.Split(after.ID, "-")[0] == strings.Split(before, "-")[0] {
			t.Errorf("the epoch of %s is that of %s", after.ID, before)
		}
	}
}

func TestARecordThatTheStoreDoesNotTakeIsAGap(t *testing.T) {
	server, u, _ := startFleet(t, 1, "max_record_size 4MiB", "")
	s := get(t, server, "/1/x")
	u.wait(t, 1)
	waitOpen(t, s)
	u.say("1\n", strings.Repeat("x", memorystore.Largest)+"\n", "2\n")
	events := s.WaitEvents(3)
	if events[1].Type != "sse-gap" || !strings.Contains(events[1].Data, "record_too_large") || events[2].Data != "2" {
		t.Errorf("%.300q", s.Raw())
	}
}

func TestTheMetricsOfAStoreMoveAsTheirNamesSay(t *testing.T) {
	u := newHub(t)
	_, name := newEngine(t)
	server := startSharing(t, "{\nadmin 127.0.0.1:{{port \"admin\"}}\nmetrics\n}\n"+fleetSite(name, 1, "test_hub "+u.name, "", ""))
	s := get(t, server, "/1/x")
	u.wait(t, 1)
	waitOpen(t, s)
	values := scrape(t, server)
	for series, want := range map[string]float64{`store_up{store="test_memory"}`: 1, "sources_leading": 1} {
		if got, ok := values[series]; !ok || got != want {
			t.Errorf("%s is %v (%v), want %v", series, got, ok, want)
		}
	}
	if values[`source_takeovers_total{reason="first"}`] == 0 || values[`store_appends_total{result="accepted"}`] == 0 || values["store_append_seconds_count"] == 0 {
		t.Errorf("after a takeover: %v", values)
	}
	if _, ok := values["records_fenced_total"]; !ok {
		t.Error("there is no series of records that another process has kept from being stored")
	}
	info := theSource(t)
	if info.StoreInfo == nil || info.Store != "test_memory" || info.Role != "leader" || info.Leader == "" || info.Lag != 0 || !strings.HasPrefix(waitOpen(t, s), info.Epoch+"-") {
		t.Errorf("the admin API shows %+v %+v", info, info.StoreInfo)
	}
}

func TestAStoreIsAConfigErrorWhereItCannotBe(t *testing.T) {
	for name, tc := range map[string]struct{ options, want string }{
		"an unknown store":  {"backend dial localhost:1\nshare {\nstore unknown\n}", `there is no store "unknown" in this build: it has test_memory`},
		"no name":           {"backend dial localhost:1\nshare {\nstore\n}", "wrong argument count"},
		"standard input":    {"backend stdin\nshare {\nstore test_memory a b\n}", "each process has its own standard input"},
		"the store's error": {"backend dial localhost:1\nshare {\nstore test_memory a\n}", "wrong argument count"},
		"twice":             {"backend dial localhost:1\nshare {\nstore test_memory a b\nstore test_memory a b\n}", "store"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ssetest.Adapt(site(tc.options, ""))
			if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(tc.want)) || !strings.Contains(err.Error(), "Caddyfile:") {
				t.Errorf("error %v, want one with %q and its place", err, tc.want)
			}
		})
	}
}

func TestAClientWhoseEventIsKnownElsewhereIsWaitedForWhileTheStoreIsAway(t *testing.T) {
	server, u, engine := startFleet(t, 2, "heartbeat 200ms", "")
	one, two := get(t, server, "/1/x"), get(t, server, "/2/x")
	u.wait(t, 1)
	waitOpen(t, one)
	waitOpen(t, two)
	u.say("1\n")
	id := wantEvents(t, two, "1")[0].ID
	engine.SetDown(true)
	epoch, _, _ := strings.Cut(id, "-")
	// The second event is stored, but this process has not heard of it.
	s := get(t, server, "/2/x", ssetest.LastEventID(epoch+"-2"))
	s.WaitComments(3)
	if len(s.Events()) > 0 {
		t.Errorf("while the store is away: %v", s)
	}
	engine.SetDown(false)
	u.say("2\n", "3\n")
	events := s.WaitEvents(1)
	if first := events[0]; first.Data != "3" && first.Type != "sse-gap" {
		t.Errorf("%v", s)
	}
}
