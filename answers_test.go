package sse_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// model answers POST requests as a language model does: as the test says it.
type model struct {
	*hub
	asked chan string
}

func newModel(t *testing.T) *model { return &model{newHub(t), make(chan string, 99)} }

func (m *model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	m.asked <- fmt.Sprintf("%s %s %s %s%s", r.Method, r.URL.Path, r.Header.Get("Content-Type"), body, r.Header.Get("Cookie"))
	m.hub.ServeHTTP(w, r)
}

// modelSite is a site before a model, which is the next handler or a backend.
func modelSite(t *testing.T, m *model, kind, options, more string) string {
	more = "share {path} {\nreplay all\nopen POST\nstop DELETE\n" + more + "\n}\n"
	upstream := ssetest.Upstream(t, m.ServeHTTP)
	if kind == "backend" {
		return site(options+"\n"+more+"backend http http://"+upstream+"{path} {\nmethod POST\nbody question\nheader Content-Type text/plain\n}", "")
	}
	return site(options+"\n"+more, "reverse_proxy "+upstream)
}

var modelKinds = []string{"next handler", "backend"}

func method(name string, body string) func(*http.Request) {
	return func(r *http.Request) {
		r.Method, r.Body, r.ContentLength = name, io.NopCloser(strings.NewReader(body)), int64(len(body))
		r.Header.Set("Content-Type", "text/plain")
		r.Header.Set("Cookie", "mine")
		if name != http.MethodGet && name != http.MethodHead {
			r.Header.Set("Accept", "application/json")
		}
	}
}

func TestAnAnswerOutlivesThePageThatAskedForIt(t *testing.T) {
	for _, name := range modelKinds {
		t.Run(name, func(t *testing.T) {
			m := newModel(t)
			ssetest.NoLeaks(t)
			t.Cleanup(share.CloseAll)
			config := modelSite(t, m, name, "end \"\" [DONE]", "linger 1m\nkeep 1m")
			server := ssetest.Start(t, config)
			ask := func(protocol, path string, options ...func(*http.Request)) *ssetest.Stream {
				return ssetest.Get(t, ssetest.Client(t, protocol), server.URL(protocol, path), options...)
			}
			for _, protocol := range ssetest.Protocols {
				path := fmt.Sprintf("/%s/%s", strings.ReplaceAll(name, " ", ""), protocol)
				for _, before := range []string{"GET", "HEAD", "PUT"} {
					if s := ask(protocol, path, method(before, "")); s.Status != http.StatusNoContent || wholeBody(t, s) != "" || s.Header.Get("Cache-Control") != "no-store" {
						t.Errorf("%s before there is an answer: %v", before, s)
					}
				}
				page := ask(protocol, path, method("POST", "question"))
				if got := <-m.asked; got != "POST "+path+" text/plain question" {
					t.Errorf("asked %q", got)
				}
				m.wait(t, 1)
				m.say("1\n2\n")
				first := wantEvents(t, page, "1 2")[0].ID
				page.Close()
				ssetest.Wait(t, "the page to have left", func() bool { return len(listStreamsOf(path)) == 0 })
				m.say("3\n")
				second, third := ask(protocol, path), ask(protocol, path, ssetest.LastEventID(first))
				wantEvents(t, second, "1 2 3")
				wantEvents(t, third, "2 3")
				again := ask(protocol, path, method("POST", "question"))
				wantEvents(t, again, "1 2 3")
				m.say("4\n")
				m.end(nil)
				for _, s := range []*ssetest.Stream{second, again, ask(protocol, path), ask(protocol, path, method("PUT", ""))} {
					if _ = wholeBody(t, s); texts(s.Events()) != "1 2 3 4 [DONE]" {
						t.Errorf("got %q", s.Raw())
					}
				}
				if _ = wholeBody(t, third); texts(third.Events()) != "2 3 4 [DONE]" {
					t.Errorf("got %q", third.Raw())
				}
				if n := len(m.asked); n > 0 {
					t.Errorf("the model was asked %d times more", n)
				}
				if head := ask(protocol, path, method("HEAD", "")); head.Status != 200 {
					t.Errorf("HEAD: %v", head)
				}
				// A new question never sees the old answer.
				next := ask(protocol, path, method("POST", "question"))
				<-m.asked
				m.wait(t, 1)
				m.say("5\n")
				m.end(nil)
				if _ = wholeBody(t, next); texts(next.Events()) != "5 [DONE]" {
					t.Errorf("got %q", next.Raw())
				}
			}
		})
	}
}

func TestAnAnswerIsStoppedForAll(t *testing.T) {
	for _, name := range modelKinds {
		t.Run(name, func(t *testing.T) {
			m := newModel(t)
			ssetest.NoLeaks(t)
			t.Cleanup(share.CloseAll)
			config := modelSite(t, m, name, "end \"\" [DONE]", "linger 1m\nkeep 1m")
			server := ssetest.Start(t, config)
			for i, protocol := range ssetest.Protocols {
				path := "/" + protocol
				ask := func(options ...func(*http.Request)) *ssetest.Stream {
					return ssetest.Get(t, ssetest.Client(t, protocol), server.URL(protocol, path), options...)
				}
				stop := func(want int) {
					t.Helper()
					if s := ask(method("DELETE", "")); s.Status != want {
						t.Errorf("DELETE: %v, want %d", s, want)
					}
				}
				stop(http.StatusNotFound)
				page := ask(method("POST", "question"))
				<-m.asked
				m.wait(t, 1)
				m.say("1\n")
				other := ask()
				wantEvents(t, page, "1")
				wantEvents(t, other, "1")
				stop(http.StatusNoContent)
				for _, s := range []*ssetest.Stream{page, other} {
					if _ = wholeBody(t, s); texts(s.Events()) != "1 [DONE]" {
						t.Errorf("got %q", s.Raw())
					}
				}
				m.wait(t, 0)
				ssetest.Wait(t, "both streams in the access log, as stopped", func() bool {
					lines := 0
					for _, l := range server.Logs() {
						if l.Message == "handled request" && l.Fields["end_reason"] == stream.EndStopped {
							lines++
						}
					}
					return lines == 2*(i+1)
				})
				if s := ask(); s.Status != http.StatusNoContent {
					t.Errorf("a client that returns: %v", s)
				}
				stop(http.StatusNotFound)

				page = ask(method("POST", "question"))
				<-m.asked
				m.wait(t, 1)
				m.end(nil)
				_ = wholeBody(t, page)
				stop(http.StatusNoContent) // deletes what is kept
				if s := ask(); s.Status != http.StatusNoContent {
					t.Errorf("after what was kept is deleted: %v", s)
				}
			}
		})
	}
}

func TestAModelThatFailsIsNotAskedTwice(t *testing.T) {
	for _, name := range modelKinds {
		t.Run(name, func(t *testing.T) {
			m := newModel(t)
			ssetest.NoLeaks(t)
			t.Cleanup(share.CloseAll)
			config := modelSite(t, m, name, "", "linger 1m\nkeep 1m")
			server := ssetest.Start(t, config)
			page := get(t, server, "/", method("POST", "question"))
			<-m.asked
			m.wait(t, 1)
			m.say("1\n")
			wantEvents(t, page, "1")
			m.end(fmt.Errorf("out of memory"))
			returned := get(t, server, "/")
			for _, s := range []*ssetest.Stream{page, returned} {
				if raw := brokenBody(t, s); !strings.HasSuffix(raw, "data: 1\n\nevent: sse-error\ndata: {\"reason\":\"upstream_error\"}\n\n") {
					t.Errorf("got %q", raw)
				}
			}
			if n := len(m.asked); n > 0 {
				t.Errorf("the model was asked %d times more", n)
			}
		})
	}
}

func TestAReloadNeitherCutsAnAnswerNorAsksAgain(t *testing.T) {
	for _, name := range modelKinds {
		t.Run(name, func(t *testing.T) {
			m := newModel(t)
			ssetest.NoLeaks(t)
			t.Cleanup(share.CloseAll)
			config := modelSite(t, m, name, "end \"\" [DONE]", "linger 1m\nkeep 1m")
			server := ssetest.Start(t, config)
			page := get(t, server, "/", method("POST", "question"))
			<-m.asked
			m.wait(t, 1)
			m.say("1\n")
			wantEvents(t, page, "1")
			server.Reload(config + "\n")
			returned := get(t, server, "/")
			m.say("2\n")
			wantEvents(t, returned, "1 2")
			m.end(nil)
			for _, s := range []*ssetest.Stream{page, returned, get(t, server, "/")} {
				if _ = wholeBody(t, s); texts(s.Events()) != "1 2 [DONE]" {
					t.Errorf("got %q", s.Raw())
				}
			}
			if n := len(m.asked); n > 0 {
				t.Errorf("the model was asked %d times more", n)
			}
		})
	}
}

func TestOtherMethodsDoNotReachAModelThatIsOpenedByPOST(t *testing.T) {
	ssetest.NoLeaks(t)
	var asked atomic.Int64
	next := nextHandler(t, func(w http.ResponseWriter, r *http.Request) { asked.Add(1) })
	server := startSharing(t, site("share {path} {\nopen POST\n}", next))
	for _, name := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"} {
		if s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/"), method(name, "")); s.Status != http.StatusNoContent {
			t.Errorf("%s: %v", name, s)
		}
	}
	if s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/"), method("TRACE", "")); s.Status != http.StatusMethodNotAllowed {
		t.Errorf("TRACE: %v", s)
	}
	large := strings.Repeat("x", 10<<20+1)
	if s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/"), method("POST", large)); s.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("a POST that is too large: %v", s)
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the next handler was asked %d times", n)
	}
}

func TestAClientIsToldOnceThatItHasWhatWasKept(t *testing.T) {
	for name, options := range map[string]string{"for all": "", "for each client": "data {record}{query.x}\n"} {
		t.Run(name, func(t *testing.T) {
			server, u := sharing(t, options+"share {\nreplay all\nlive ready\n}")
			first := get(t, server, "/")
			if e := first.WaitEvents(1)[0]; e.Type != "ready" || e.Data != "ready" || e.ID == "" || e.ID != waitOpen(t, first) {
				t.Errorf("got %+v", e)
			}
			u.wait(t, 1)
			u.say("1\n2\n")
			events := wantEvents(t, first, "ready 1 2")
			if first.Events()[0].ID == events[1].ID {
				t.Errorf("the id of an event to come: %+v", events)
			}
			second, third := get(t, server, "/"), get(t, server, "/", ssetest.LastEventID(events[1].ID))
			if live := wantEvents(t, second, "1 2 ready")[2]; live.ID != events[2].ID {
				t.Errorf("ready has id %q, want %q", live.ID, events[2].ID)
			}
			wantEvents(t, third, "2 ready")
			u.say("3\n")
			wantEvents(t, second, "1 2 ready 3")
			wantEvents(t, third, "2 ready 3")
			wantEvents(t, get(t, server, "/", ssetest.LastEventID(second.Events()[2].ID)), "3 ready")
		})
	}
}

// listStreamsOf are the ids of the open streams of a path.
func listStreamsOf(path string) (ids []string) {
	for _, s := range stream.List() {
		if s.URI == path {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

func TestRequestsForAnAnswerThatComeTogetherAskOnceAndLeaveNothingBehind(t *testing.T) {
	for _, name := range modelKinds {
		t.Run(name, func(t *testing.T) {
			ssetest.NoLeaks(t)
			t.Cleanup(share.CloseAll)
			m := newModel(t)
			server := ssetest.Start(t, modelSite(t, m, name, "end \"\" [DONE]", "linger 1m\nkeep 1m"))
			do := func(protocol, name string) {
				ctx, cancel := context.WithTimeout(context.Background(), ssetest.Patience)
				defer cancel()
				r, _ := http.NewRequestWithContext(ctx, http.MethodGet, server.URL(protocol, "/"), nil)
				r.Header.Set("Accept", "text/event-stream")
				method(name, "question")(r)
				response, err := ssetest.Client(t, protocol).Do(r)
				if err != nil {
					t.Errorf("%s over %s: %v", name, protocol, err)
					return
				}
				defer response.Body.Close()
				if _, err := io.Copy(io.Discard, response.Body); err != nil && name == http.MethodGet {
					t.Errorf("%s over %s: %v", name, protocol, err)
				}
			}
			var together sync.WaitGroup
			for range 4 {
				for _, protocol := range []string{"h1", "h2c"} { // of one server, and so of one source
					together.Go(func() { do(protocol, http.MethodPost) })
				}
			}
			<-m.asked
			m.wait(t, 1)
			ssetest.Wait(t, "all streams", func() bool { return len(listStreamsOf("/")) == 8 })
			if n := len(m.asked); n > 0 {
				t.Errorf("the model was asked %d times more", n)
			}
			m.say("1\n")
			m.end(nil)
			together.Wait()

			for i := range 60 {
				together.Go(func() {
					do([]string{"h1", "h2c"}[i%2], []string{http.MethodPost, http.MethodGet, http.MethodDelete}[i%3])
				})
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				together.Wait()
			}()
			for {
				select {
				case <-ended:
					return
				case <-m.asked:
				default:
					m.say("2\n")
					m.end(nil)
				}
			}
		})
	}
}
