package sse

import (
	"fmt"
	"strings"
	"testing"

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
	u.end(ErrEnded)
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
