package sse_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestAReloadThatRemovesTheStoreHandsTheSourceOver(t *testing.T) {
	for _, joins := range []string{"GET", "PUT"} { // PUT may not open the upstream by itself
		t.Run(joins, func(t *testing.T) {
			u := newHub(t)
			_, name := newEngine(t)
			config := fleetSite(name, 2, "test_hub "+u.name, "on_reload keep", "linger 0\nopen GET")
			server := startSharing(t, config)
			one := get(t, server, "/1/x")
			u.wait(t, 1)
			waitOpen(t, one)
			two := get(t, server, "/2/x", method(joins, ""))
			waitOpen(t, two)
			u.say("1\n")
			wantEvents(t, two, "1")
			server.Reload(strings.Replace(config, "store test_memory "+name+" 1", "", 1))
			one.Close()
			u.waitJoin(t, 2)
			ssetest.Wait(t, "the other process to lead", func() bool {
				list := share.List()
				return len(list) == 1 && list[0].StoreInfo != nil && list[0].Role == "leader"
			})
			u.wait(t, 1)
			u.say("2\n")
			ssetest.Wait(t, "an event of the new leader", func() bool { return strings.HasSuffix(texts(two.Events()), " 2") })
		})
	}
}

func TestANewQuestionNeverSeesTheOldAnswerAtAProcessThatHasNotHeardOfItsEnd(t *testing.T) {
	m := newModel(t)
	engine, name := newEngine(t)
	upstream := ssetest.Upstream(t, m.ServeHTTP)
	server := startSharing(t, fleetSite(name, 2, "http http://"+upstream+"{path} {\nmethod POST\nbody question\n}", "end \"\" [DONE]", "replay all\nopen POST\nlinger 1m\nkeep 1m"))
	first := get(t, server, "/1/a", method("POST", "question"))
	<-m.asked
	m.wait(t, 1)
	m.say("1\n")
	wantEvents(t, first, "1")
	other := get(t, server, "/2/a")
	wantEvents(t, other, "1")
	engine.SetLate(true)
	m.end(nil)
	_ = wholeBody(t, first)
	time.AfterFunc(300*time.Millisecond, func() { engine.SetLate(false) })
	second := get(t, server, "/2/a", method("POST", "question"))
	m.wait(t, 1)
	m.say("2\n")
	wantEvents(t, second, "2")
	if _ = wholeBody(t, other); texts(other.Events()) != "1 [DONE]" {
		t.Errorf("got %q", other.Raw())
	}
}

func TestWhileTheStoreDoesNotAnswerNobodyIsToldThatThereIsNoAnswer(t *testing.T) {
	m := newModel(t)
	engine, name := newEngine(t)
	upstream := ssetest.Upstream(t, m.ServeHTTP)
	server := startSharing(t, fleetSite(name, 2, "http http://"+upstream+"{path} {\nmethod POST\nbody question\n}", "", "open POST\nstop DELETE\nlinger 1m"))
	page := get(t, server, "/1/a", method("POST", "question"))
	m.wait(t, 1)
	waitOpen(t, page)
	engine.SetDown(true)
	for verb, want := range map[string]int{"HEAD": http.StatusOK, "DELETE": http.StatusServiceUnavailable} {
		for _, process := range []string{"/1", "/2"} {
			if process == "/1" && verb == "HEAD" {
				continue // it has the source in memory
			}
			if s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", process+"/a"), method(verb, "")); s.Status != want {
				t.Errorf("%s of %s: %v, want %d", verb, process, s, want)
			}
		}
	}
	engine.SetDown(false)
	m.say("1\n")
	wantEvents(t, page, "1")
	if s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/2/a"), method("DELETE", "")); s.Status != http.StatusNoContent {
		t.Errorf("DELETE with the store: %v", s)
	}
}

func TestHEADKnowsOfAnAnswerThatIsKeptInAStore(t *testing.T) {
	m := newModel(t)
	_, name := newEngine(t)
	upstream := ssetest.Upstream(t, m.ServeHTTP)
	server := startSharing(t, fleetSite(name, 2, "http http://"+upstream+"{path} {\nmethod POST\nbody question\n}", "end over", "replay all\nopen POST\nlinger 1m\nkeep 1m"))
	ask := func(path, by string) *ssetest.Stream {
		return ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", path), method(by, ""))
	}
	page := ask("/1/a", http.MethodPost)
	<-m.asked
	m.wait(t, 1)
	m.say("1\n")
	wantEvents(t, page, "1")
	m.end(nil)
	_ = wholeBody(t, page)
	for path, want := range map[string]int{"/1/a": 200, "/2/a": 200, "/1/other": 204} {
		if got := ask(path, http.MethodHead).Status; got != want {
			t.Errorf("HEAD %s: %d, want %d", path, got, want)
		}
	}
}
