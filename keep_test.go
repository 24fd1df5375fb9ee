package sse_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestAClientThatComesBackAfterTheEndGetsTheRestAndOpensNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		options string
		say     []string
	}{
		"epoch ids":         {"share", []string{"1\n", "2\n", "3\n"}},
		"ids of the config": {"id e{record}\nshare", []string{"1\n", "2\n", "3\n"}},
		"for each client":   {"where `{query.x} == ''`\nid {query.y}{record}\nshare", []string{"1\n", "2\n", "3\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			server, u := sharing(t, "end over\n"+tc.options)
			first := get(t, server, "/")
			u.wait(t, 1)
			opened := waitOpen(t, first)
			u.say(tc.say...)
			events := first.WaitEvents(3)
			u.end(nil)
			_ = wholeBody(t, first)
			comeBack := func(id, want string) {
				t.Helper()
				back := get(t, server, "/", ssetest.LastEventID(id))
				if body := wholeBody(t, back); texts(back.Events()) != want || !strings.HasSuffix(body, "event: over\ndata: over\n\n") {
					t.Errorf("after %q: %q, want the events %q", id, body, want)
				}
			}
			comeBack(opened, "1 2 3 over")
			comeBack(events[0].ID, "2 3 over")
			comeBack(events[2].ID, "over")
			if n := len(u.joined()); n != 1 {
				t.Errorf("%d upstream connections, want 1", n)
			}
			// Another answer does not take away what is left of the first.
			other := get(t, server, "/")
			u.wait(t, 1)
			u.say("4\n")
			fourth := wantEvents(t, other, "4")[0]
			comeBack(events[1].ID, "3 over")
			again := get(t, server, "/", ssetest.LastEventID(fourth.ID))
			waitOpen(t, again)
			u.say("5\n")
			wantEvents(t, again, "5")
			if n := len(u.joined()); n != 2 {
				t.Errorf("%d upstream connections, want 2", n)
			}
		})
	}
}

func TestWhatHasEndedIsKeptForKeepAndNoLonger(t *testing.T) {
	for name, keep := range map[string]string{"not at all": "0", "for a moment": "200ms"} {
		t.Run(name, func(t *testing.T) {
			server, u := sharing(t, "end over\nshare {\nlinger 1h\nkeep "+keep+"\n}")
			first := get(t, server, "/")
			u.wait(t, 1)
			u.say("1\n")
			id := first.WaitEvents(1)[0].ID
			u.end(nil)
			_ = wholeBody(t, first)
			ssetest.Wait(t, "the source to be forgotten, so that there is a gap", func() bool {
				return get(t, server, "/", ssetest.LastEventID(id)).WaitEvents(1)[0].Type == frame.TypeGap
			})
			u.wait(t, 1)
		})
	}
}

// One that may open an upstream opens it anew instead.
func TestAClientThatMayNotOpenGetsWhatReplaySaysOfAnAnswerThatIsKept(t *testing.T) {
	for replay, want := range map[string]string{"0": "over", "1": "3 over", "2": "2 3 over", "all": "1 2 3 over"} {
		t.Run(replay, func(t *testing.T) {
			m := newModel(t)
			ssetest.NoLeaks(t)
			t.Cleanup(share.CloseAll)
			config := strings.Replace(modelSite(t, m, "next handler", "end over", "keep 1m"), "replay all", "replay "+replay, 1)
			server := ssetest.Start(t, config)
			first := get(t, server, "/", method("POST", "question"))
			<-m.asked
			m.wait(t, 1)
			m.say("1\n2\n3\n")
			m.end(nil)
			_ = wholeBody(t, first)
			for _, name := range []string{"GET", "PUT"} {
				late := get(t, server, "/", method(name, ""))
				if _ = wholeBody(t, late); texts(late.Events()) != want {
					t.Errorf("%s: got %q", name, late.Raw())
				}
			}
			again := get(t, server, "/", method("POST", "question"))
			<-m.asked
			m.wait(t, 1)
			m.end(nil)
			if _ = wholeBody(t, again); texts(again.Events()) != "over" {
				t.Errorf("POST: got %q", again.Raw())
			}
		})
	}
}

func TestSourcesThatHaveEndedAreNotKeptWithoutBound(t *testing.T) {
	server, u := sharing(t, "end over\nshare {\nkeep 1h\nlinger 0\n}")
	for n := range 3 * share.MaxKept {
		client := get(t, server, "/")
		u.wait(t, 1)
		u.say(fmt.Sprintln(n))
		client.WaitEvents(1)
		u.end(nil)
		_ = wholeBody(t, client)
	}
	ssetest.Wait(t, "the oldest to be let go", func() bool { return len(share.List()) <= share.MaxKept })
}
