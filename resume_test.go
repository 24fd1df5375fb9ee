package sse_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// ids are records with these ids, one after the other.
func ids(list string) (records string) {
	for i, id := range strings.Fields(list) {
		records += fmt.Sprintf("{\"id\":%q,\"n\":%d}\n", id, i+1)
	}
	return records
}

func TestAnIDThatSeveralEventsHaveIsAGapUnlessTheyFollowOneAnother(t *testing.T) {
	for name, options := range map[string]string{"for all": "id {record.id}\n", "for each": "id {record.id}{query.x}\n"} {
		t.Run(name, func(t *testing.T) {
			server, u := sharing(t, options+"data {record.n}\nshare")
			first := get(t, server, "/")
			u.wait(t, 1)
			u.say(ids("EUR USD EUR GBP GBP CHF"))
			wantEvents(t, first, "1 2 3 4 5 6")
			for id, want := range map[string]string{"EUR": "gap 1 2 3 4 5 6", "USD": "3 4 5 6", "GBP": "5 6", "CHF": ""} {
				client := get(t, server, "/", ssetest.LastEventID(id))
				waitOpen(t, client)
				all := client.WaitEvents(len(strings.Fields(want)))
				if rest, isLost := strings.CutPrefix(want, "gap "); isLost {
					if want = rest; all[0].Type != frame.TypeGap {
						t.Errorf("%s: no gap: %s", id, client)
					}
					all = all[1:]
				}
				if got := texts(all); got != want {
					t.Errorf("resumed after %s with %q, want %q", id, got, want)
				}
			}
		})
	}
}

// Records that a former config filtered are not in its clients' streams. From its end on they may be in the next one's.
func TestAReloadOfWhereLosesNothingThatIsSaidBeforeItsFirstClientReturns(t *testing.T) {
	server, u := sharing(t, "where `record < 10`")
	client := get(t, server, "/")
	u.wait(t, 1)
	u.say("1\n", "10\n")
	id := wantEvents(t, client, "1")[0].ID
	server.Reload(shared(u, "where `record >= 10`"))
	_ = wholeBody(t, client)
	u.say("11\n", "2\n", "12\n")
	ssetest.Wait(t, "them to be recorded", func() bool { return theSource(t).Records == 5 })
	again := get(t, server, "/", ssetest.LastEventID(id))
	wantEvents(t, again, "11 12")
	u.say("13\n")
	wantEvents(t, again, "11 12 13")
}

func TestAReloadOfWhereKnowsTheUpstreamsIDsThatItLeavesOut(t *testing.T) {
	for name, mapping := range map[string]string{"for all": "where `record % 2 == 0`", "for each": "where `record % 2 == 0 && {query.x} == \"\"`"} {
		t.Run(name, func(t *testing.T) {
			server, u := sharing(t, "format event_stream")
			client := get(t, server, "/")
			u.wait(t, 1)
			u.say(ownEvents(1, 5)...)
			wantEvents(t, client, "1 2 3 4 5")
			server.Reload(shared(u, "format event_stream\n"+mapping))
			_ = wholeBody(t, client)
			u.say(ownEvents(6, 8)...)
			again := get(t, server, "/", ssetest.LastEventID("own5"))
			wantEvents(t, again, "6 8")
			if strings.Contains(again.Raw(), "sse-gap") {
				t.Errorf("a gap for a client that has missed nothing: %q", again.Raw())
			}
			// An id that the upstream repeats says nothing of where the client stands.
			u.say("id: own9\ndata: 9\n\n", "id: own11\ndata: 11\n\n", "id: own9\ndata: 9\n\n", "id: own12\ndata: 12\n\n")
			wantEvents(t, again, "6 8 12")
			unknown := get(t, server, "/", ssetest.LastEventID("own9"))
			unknown.WaitLastEventID("own12")
			if raw := unknown.Raw(); !strings.Contains(raw, "sse-gap") {
				t.Errorf("no gap after an id that is not of one event: %q", raw)
			}
		})
	}
}

func ownEvents(from, to int) (events []string) {
	for n := from; n <= to; n++ {
		events = append(events, fmt.Sprintf("id: own%d\ndata: %d\n\n", n, n))
	}
	return events
}

func TestAClientThatIsRarelySentAnythingResumesWithoutAGap(t *testing.T) {
	for name, history := range map[string]string{"by count": "history 20", "by size": "history 100 400"} {
		t.Run(name, func(t *testing.T) {
			server, u := sharing(t, "where `string(record) == {query.want}`\nshare {\n"+history+"\n}")
			client, all := get(t, server, "/?want=1"), get(t, server, "/?want=200")
			u.wait(t, 1)
			waitOpen(t, all)
			u.say("1\n")
			wantEvents(t, client, "1")
			for n := 2; n <= 200; n++ {
				u.say(fmt.Sprintln(n))
			}
			wantEvents(t, all, "200")
			last := wantEvents(t, all, "200")[0].ID
			epoch, _, _ := strings.Cut(last, "-")
			ssetest.Wait(t, "a word on where it stands", func() bool {
				id, _ := strings.CutPrefix(client.State().LastEventID, epoch+"-")
				return len(id) == 3 && id >= "190"
			})
			id := client.State().LastEventID
			if blocks := strings.Count(client.Raw(), "id: "); blocks > 60 {
				t.Errorf("%d ids for 200 records", blocks)
			}
			client.Close()
			u.say("1\n")
			wantEvents(t, get(t, server, "/?want=1", ssetest.LastEventID(id)), "1")
		})
	}
}

func TestAnOpeningIDNeverGoesBackwards(t *testing.T) {
	t.Run("where nothing was sent yet", func(t *testing.T) {
		u := newHub(t)
		route := func(path, where string) string {
			return "handle " + path + " {\nsse {\nbackend test_hub " + u.name + "\nwhere `" + where + "`\nshare {\nhistory 3\n}\n}\n}\n"
		}
		server := startSharing(t, ssetest.Site(route("/all", "true")+route("/none", "record == 99")))
		all := get(t, server, "/all")
		u.wait(t, 1)
		u.say(numbers(1, 30))
		id := all.WaitEvents(30)[29].ID
		if got := waitOpen(t, get(t, server, "/none")); got != id {
			t.Errorf("the stream opens at %q, want %q", got, id)
		}
		u.say("99\n")
		wantEvents(t, get(t, server, "/none", ssetest.LastEventID(id)), "99")
	})
	t.Run("where it was sent further than its last event", func(t *testing.T) {
		server, u := sharing(t, "where `record == 1`")
		client := get(t, server, "/")
		u.wait(t, 1)
		u.say("1\n2\n3\n")
		first := wantEvents(t, client, "1")[0].ID
		later := strings.TrimSuffix(first, "1") + "3"
		ssetest.Wait(t, "the third record", func() bool { return theSource(t).Records == 3 })
		if got := waitOpen(t, get(t, server, "/", ssetest.LastEventID(later))); got != later {
			t.Errorf("resumed after %q, the stream opens at %q", later, got)
		}
	})
}

func TestAGapNamesTheOldestEventThatThisClientIsSent(t *testing.T) {
	server, u := sharing(t, "id {record.id}{query.x}\nwhere `record.n > 1 || {query.x} == 'all'`\nshare")
	first := get(t, server, "/?x=x")
	u.wait(t, 1)
	u.say(ids("a b c"))
	first.WaitEvents(2)
	for x, want := range map[string]string{"x": "bx", "all": "aall"} {
		gap := get(t, server, "/?x="+x, ssetest.LastEventID("unknown")).WaitEvents(1)[0]
		if !strings.Contains(gap.Data, `"oldest_id":"`+want+`"`) {
			t.Errorf("%s, want oldest_id %q", gap.Data, want)
		}
	}
}

func TestAGapThatHasLeftTheHistoryIsToldToWhoDidNotGetIt(t *testing.T) {
	server, u := sharing(t, "id {record.id}\ndata {record.n}\nmax_record_size 300\nshare {\nhistory 100 400\n}")
	first := get(t, server, "/")
	u.wait(t, 1)
	u.say(ids("a"), strings.Repeat("x", 500)+"\n")
	ssetest.Wait(t, "the gap", func() bool { return strings.Contains(first.Raw(), "record_too_large") })
	for n := 2; n <= 40; n++ {
		u.say(fmt.Sprintf("{\"id\":\"b%d\",\"n\":%d}\n", n, n))
		first.WaitEvents(n + 1)
		client := get(t, server, "/", ssetest.LastEventID("a"))
		if e := client.WaitEvents(1)[0]; e.Type != frame.TypeGap {
			t.Fatalf("after %d more events: no gap: %s", n-1, client)
		}
		client.Close()
	}
}
