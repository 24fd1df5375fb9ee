package sse_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sse "github.com/seed-4dedbcea/caddy-sse"
	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestClientsShareOneUpstreamAndEachGetsEveryEventOnceInOrder(t *testing.T) {
	server, u := sharing(t, "end over")
	const clients, records = 100, 500
	readers := make([]*reader, clients)
	var reading sync.WaitGroup
	for i := range readers {
		readers[i] = &reader{address: server.Addr("http"), path: "/", next: 1}
		conn, err := net.Dial("tcp", server.Addr("http"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		reading.Go(func() {
			if err := readers[i].read(conn); err != io.EOF {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	ssetest.Wait(t, "all clients", func() bool { return counted(t, metrics.StreamsActive.WithLabelValues("")) == clients })
	u.wait(t, 1)
	for n := range records {
		u.say(numbers(n+1, n+1))
	}
	if n := len(u.joined()); n != 1 {
		t.Errorf("%d upstream connections, want 1", n)
	}
	u.end(nil)
	reading.Wait()
	for i, c := range readers {
		if c.got != records || c.lost+c.again+c.gaps > 0 {
			t.Errorf("client %d: %d events, %d lost, %d again, %d gaps", i, c.got, c.lost, c.again, c.gaps)
		}
	}
}

func TestTheClientThatOpensTheSourceMissesNothing(t *testing.T) {
	u := newHub(t)
	u.greeting = numbers(1, 5000) // far more than the history, in one read
	server := startSharing(t, shared(u, "share {\nhistory 10\n}"))
	events := get(t, server, "/").WaitEvents(5000)
	for i, e := range events {
		if e.Data != fmt.Sprint(i+1) {
			t.Fatalf("event %d is %q", i+1, e.Data)
		}
	}
}

func TestANewClientStartsAtTheLiveEdgeOrSoManyEventsBeforeIt(t *testing.T) {
	for name, tc := range map[string]struct{ options, want string }{
		"live edge":              {"share", "9"},
		"replay":                 {"share {\nreplay 3\n}", "6 7 8 9"},
		"shorter history":        {"share {\nreplay 3\nhistory 2\n}", "7 8 9"},
		"all there is":           {"share {\nreplay 99\n}", "1 2 3 4 5 6 7 8 9"},
		"what is sent":           {"where `record != 7`\nshare {\nreplay 3\n}", "5 6 8 9"},
		"what this one is sent":  {"where `string(record) != {query.not}`\nshare {\nreplay 3\n}", "5 6 8 9"},
		"nothing that it's sent": {"where `record > 8 || {query.not} == ''`\nshare {\nreplay 3\n}", "9"},
	} {
		t.Run(name, func(t *testing.T) {
			server, u := sharing(t, tc.options)
			first := get(t, server, "/")
			u.wait(t, 1)
			u.say(numbers(1, 8))
			ssetest.Wait(t, "the eighth", func() bool { return strings.Contains(first.Raw(), "data: 8\n") })
			second := get(t, server, "/?not=7")
			waitOpen(t, second)
			u.say("9\n")
			wantEvents(t, second, tc.want)
		})
	}
}

func TestAClientThatHasSeenNoEventResumesWithoutLoss(t *testing.T) {
	for name, options := range map[string]string{
		"epoch ids": "share", "ids of the config": "id e{record}\nshare", "for each client": "where `record != {query.not}`\nshare",
	} {
		t.Run(name, func(t *testing.T) {
			server, u := sharing(t, options)
			stay := get(t, server, "/")
			u.wait(t, 1)
			for i, early := range []string{"", numbers(1, 3)} {
				u.say(early)
				if early != "" {
					stay.WaitEvents(3)
				}
				client := get(t, server, "/")
				id := waitOpen(t, client)
				client.Close()
				u.say(numbers(10*i+11, 10*i+12))
				ssetest.Wait(t, "them", func() bool { return strings.Contains(stay.Raw(), fmt.Sprintf("data: %d\n", 10*i+12)) })
				want := fmt.Sprintf("%d %d", 10*i+11, 10*i+12)
				if i == 0 {
					want = "11 12"
				}
				wantEvents(t, get(t, server, "/", ssetest.LastEventID(id)), want)
			}
		})
	}
}

// A client that reconnects with any last event id gets a defined result.
func TestAnIDThatIsNotInTheHistoryGivesAllThatIsKeptAfterAGap(t *testing.T) {
	server, u := sharing(t, "share {\nhistory 3\n}")
	first := get(t, server, "/")
	u.wait(t, 1)
	u.say(numbers(1, 6))
	events := wantEvents(t, first, "1 2 3 4 5 6")
	id := func(n int) string { return events[n-1].ID }
	epoch, _, _ := strings.Cut(id(1), "-")
	if id(6) != epoch+"-6" {
		t.Errorf("the sixth event has the id %q, want <epoch>-6", id(6))
	}

	for _, tc := range []struct {
		name, id string
		want     string
	}{
		{"the last event", id(6), ""},
		{"an event within the history", id(4), "5 6"},
		{"the event right before the history", id(3), "4 5 6"},
		{"from before the history", id(1), "gap 4 5 6"},
		{"of nothing yet", epoch + "-0", "gap 4 5 6"},
		{"yet to come", epoch + "-7", "gap 4 5 6"},
		{"far ahead", epoch + "-18446744073709551615", "gap 4 5 6"},
		{"too large a number", epoch + "-99999999999999999999", "gap 4 5 6"},
		{"another epoch", "0" + epoch + "-4", "gap 4 5 6"},
		{"of a file", "1a2b-33-1024", "gap 4 5 6"},
		{"the end event's", eventstream.EndID, "gap 4 5 6"},
		{"garbage", "\xff\xfe}{\"'<>,;", "gap 4 5 6"},
		{"three kilobytes", strings.Repeat("x", 3_000), "gap 4 5 6"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client := get(t, server, "/", ssetest.LastEventID(tc.id))
			opening := waitOpen(t, client)
			want, isLost := strings.CutPrefix(tc.want, "gap ")
			all := client.WaitEvents(len(strings.Fields(tc.want)))
			if isLost {
				if all[0].Type != frame.TypeGap || !strings.Contains(all[0].Data, `"reason":"history"`) || !strings.Contains(all[0].Data, `"oldest_id":"`+id(4)+`"`) {
					t.Errorf("first event %+v, want an sse-gap", all[0])
				}
				if len(all[0].Data) > 3000 {
					t.Errorf("the gap repeats %d bytes", len(all[0].Data))
				}
				if all[0].HasID {
					t.Error("the gap has an id")
				}
				if all[0].ID != "" {
					t.Error("the id of the place behind the gap comes first: who is cut off in between resumes there, and never knows")
				}
				if opening != id(3) && client.State().LastEventID != id(6) {
					t.Errorf("the stream opens at %q, want %q", opening, id(3))
				}
				all = all[1:]
			}
			if got := texts(all); got != want {
				t.Errorf("resumed with %q, want %q", got, want)
			}
		})
	}

	t.Run("by the query parameter", func(t *testing.T) {
		wantEvents(t, get(t, server, "/?lastEventId="+id(4)), "5 6")
		forged := get(t, server, "/?lastEventId=x%0A%0Aid:%20forged%0Adata:%20forged%0A%0A%00")
		forged.WaitEvents(4)
		if e := forged.Events(); e[0].Type != frame.TypeGap || strings.Contains(forged.Raw(), "\ndata: forged") {
			t.Errorf("a line break in the id broke out: %s", forged)
		}
	})
	t.Run("a megabyte is more than the server takes", func(t *testing.T) {
		for _, protocol := range []string{"h1", "h2"} {
			r, _ := http.NewRequest(http.MethodGet, server.URL(protocol, "/"), nil)
			r.Header.Set("Last-Event-ID", strings.Repeat("x", 1<<20+1<<13))
			response, err := ssetest.Client(t, protocol).Do(r)
			if err != nil {
				continue // the server has hung up
			}
			response.Body.Close()
			if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("%s: status %d", protocol, response.StatusCode)
			}
		}
	})
	t.Run("it all goes on", func(t *testing.T) {
		u.say("7\n")
		wantEvents(t, first, "1 2 3 4 5 6 7")
	})
}

func TestIDsOfConfigAndUpstreamAreFoundInTheHistory(t *testing.T) {
	for name, tc := range map[string]struct{ options, say, id string }{
		"config":                         {"id {record.id}", "{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n", "b"},
		"config, for each client":        {"id {record.id}\nwhere `{query.x} == ''`", "{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n", "b"},
		"client's own":                   {"id {query.y}{record.id}", "{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n", "b"},
		"upstream":                       {"format event_stream", "id: a\ndata: 1\n\nid: b\ndata: 2\n\nid: c\ndata: 3\n\n", "b"},
		"config, that cannot be sent":    {"id {record.id}", "{\"id\":\"b\"}\n{\"id\":\"x\\ny\"}\n", "b"},
		"upstream, mapped for each, too": {"format event_stream\nwhere `{query.x} == ''`", "id: a\ndata: 1\n\nid: b\ndata: 2\n\nid: c\ndata: 3\n\n", "b"},
	} {
		t.Run(name, func(t *testing.T) {
			server, u := sharing(t, tc.options)
			first := get(t, server, "/")
			u.wait(t, 1)
			u.say(tc.say)
			all := strings.Count(tc.say, "\n")
			if strings.Contains(tc.say, "data:") {
				all = 3
			}
			events := first.WaitEvents(all)
			client := get(t, server, "/", ssetest.LastEventID(tc.id))
			if e := client.WaitEvents(1)[0]; e != events[all-1] {
				t.Errorf("resumed with %+v, want %+v", e, events[all-1])
			}
		})
	}
}

func TestWhatDependsOnTheRequestIsEvaluatedForEachClient(t *testing.T) {
	server, u := sharing(t, "data {query.prefix}{record.n}\nwhere `record.n % 2 == int({query.odd})`\nshare {\nreplay 9\n}")
	even, odd := get(t, server, "/?odd=0&prefix=e"), get(t, server, "/?odd=1&prefix=o")
	waitOpen(t, even)
	waitOpen(t, odd)
	u.wait(t, 1)
	u.say("{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n", "\n", "{\"n\":4}\n")
	events := wantEvents(t, even, "e2 e4")
	wantEvents(t, odd, "o1 o3")
	wantEvents(t, get(t, server, "/?odd=1&prefix={record}"), "{record}1 {record}3")
	wantEvents(t, get(t, server, "/?odd=0&prefix=E", ssetest.LastEventID(events[0].ID)), "E4")
	if n := len(u.joined()); n != 1 {
		t.Errorf("%d upstream connections, want 1", n)
	}
}

func TestRoutesWithDifferentMappingsShareAnUpstreamButNoFrame(t *testing.T) {
	u := newHub(t)
	backend := "backend test_hub " + u.name + "\n"
	server := startSharing(t, ssetest.Site(
		"handle /a {\nsse {\n"+backend+"data a{record}\nwhere `record != 2`\nshare\n}\n}\n"+
			"handle /b {\nsse {\n"+backend+"data b{record}\nwhere `record == 2`\nshare\n}\n}\n"+
			"handle /each {\nsse {\n"+backend+"data c{query.x}{record}\nshare\n}\n}\n"+
			"handle /lines {\nsse {\n"+backend+"format lines\nshare\n}\n}\n"))
	a, b, each := get(t, server, "/a"), get(t, server, "/b"), get(t, server, "/each?x=x")
	u.wait(t, 1)
	for _, s := range []*ssetest.Stream{a, b, each} {
		waitOpen(t, s)
	}
	u.say(numbers(1, 4))
	wantEvents(t, a, "a1 a3 a4")
	events := wantEvents(t, b, "b2")
	wantEvents(t, each, "cx1 cx2 cx3 cx4")
	if len(u.joined()) != 1 {
		t.Errorf("%d upstream connections, want 1", len(u.joined()))
	}
	// The upstream that only one route uses stays open for it while it has no client.
	b.Close()
	each.Close()
	ssetest.Wait(t, "one stream", func() bool { return counted(t, metrics.StreamsActive.WithLabelValues("")) == 1 })
	u.say("2\n5\n")
	wantEvents(t, a, "a1 a3 a4 a5")
	wantEvents(t, get(t, server, "/b", ssetest.LastEventID(events[0].ID)), "b2")
	wantEvents(t, get(t, server, "/each", ssetest.LastEventID(events[0].ID)), "c3 c4 c2 c5")
	get(t, server, "/lines") // bytes become records in another way
	u.wait(t, 2)
}

func TestARouteKeepsItsHistoryWhateverAnotherOfTheSameSourceWants(t *testing.T) {
	u := newHub(t)
	route := func(path, history string) string {
		return "handle " + path + " {\nsse {\nbackend test_hub " + u.name + "\nshare {\nreplay 9\nhistory " + history + "\n}\n}\n}\n"
	}
	server := startSharing(t, ssetest.Site(route("/long", "4")+route("/short", "2")+route("/large", "4 1KB")))
	first := get(t, server, "/long")
	u.wait(t, 1)
	u.say(numbers(1, 9))
	first.WaitEvents(9)
	for range 2 {
		wantEvents(t, get(t, server, "/long"), "6 7 8 9")
		wantEvents(t, get(t, server, "/short"), "8 9")
		wantEvents(t, get(t, server, "/large"), "6 7 8 9")
	}
	if n := len(u.joined()); n != 1 {
		t.Errorf("%d upstream connections, want 1", n)
	}
}

func TestFilteredRecordsDoNotCountToTheHistory(t *testing.T) {
	server, u := sharing(t, "where `string(record).startsWith('1')`\nshare {\nhistory 3\nreplay 3\n}")
	first := get(t, server, "/")
	u.wait(t, 1)
	u.say(numbers(1, 99))
	wantEvents(t, first, "1 10 11 12 13 14 15 16 17 18 19")
	wantEvents(t, get(t, server, "/"), "17 18 19")
	u.say("last\n", "1last\n")
	wantEvents(t, first, "1 10 11 12 13 14 15 16 17 18 19 1last")
	events := first.Events()
	resumed := get(t, server, "/", ssetest.LastEventID(events[len(events)-2].ID))
	wantEvents(t, resumed, "1last")
}

func TestTheUpstreamsHeartbeatReachesAllAndDrivesNothingOutOfTheHistory(t *testing.T) {
	server, u := sharing(t, "heartbeat off\nshare {\nreplay 1\nhistory 1 100\n}")
	first := get(t, server, "/")
	u.wait(t, 1)
	u.say("event\n")
	wantEvents(t, first, "event")
	for n := range 500 {
		u.say("\n")
		first.WaitComments(2 + n)
	}
	wantEvents(t, get(t, server, "/"), "event")
}

func TestABlankLineBesideRecordsReachesAllAsAComment(t *testing.T) {
	server, u := sharing(t, "")
	client := get(t, server, "/")
	u.wait(t, 1)
	u.say("\n1\n")
	wantEvents(t, client, "1")
	client.WaitComments(2) // with that of the opening
}

func TestWhatArrivesTogetherReachesTheClientsThoughTheHistoryIsSmaller(t *testing.T) {
	server, u := sharing(t, "share {\nhistory 100 1KiB\n}")
	client := get(t, server, "/")
	u.wait(t, 1)
	const lines = 600
	u.say(strings.Repeat(strings.Repeat("x", 99)+"\n", lines))
	client.WaitEvents(lines)
}

func TestARecordThatIsRefusedEndsTheStreamsAndTheyResumeAfterIt(t *testing.T) {
	for name, option := range map[string]string{"for all": "", "for each": "where `{query.x} == ''`\n"} {
		t.Run(name, func(t *testing.T) {
			server, u := sharing(t, "format ndjson\non_invalid error\n"+option+"share")
			a, b := get(t, server, "/"), get(t, server, "/")
			waitOpen(t, b)
			u.wait(t, 1)
			u.say("1\n2\nno JSON\n3\n")
			for _, s := range []*ssetest.Stream{a, b} {
				_ = brokenBody(t, s)
				if e := s.Events(); len(e) != 3 || e[2].Type != frame.TypeError {
					t.Fatalf("want two events and an error: %s", s)
				}
			}
			wantEvents(t, get(t, server, "/", ssetest.LastEventID(a.State().LastEventID)), "3")
		})
	}
}

func TestOversizeRecordsGiveAllAGap(t *testing.T) {
	for name, options := range map[string]string{"for all": "", "for each": "where `{query.x} == ''`\n"} {
		t.Run(name, func(t *testing.T) {
			server, u := sharing(t, options+"max_record_size 10\nshare {\nreplay 9\n}")
			a := get(t, server, "/")
			b := get(t, server, "/")
			waitOpen(t, b)
			u.wait(t, 1)
			u.say("1\n", strings.Repeat("x", 50)+"\n2\n")
			first := a.WaitEvents(1)[0].ID
			gap := fmt.Sprintf("event: sse-gap\ndata: {\"reason\":\"record_too_large\",\"last_event_id\":%q}\n\n", first)
			for _, s := range []*ssetest.Stream{a, b, get(t, server, "/", ssetest.LastEventID(first))} {
				ssetest.Wait(t, "the gap and what follows", func() bool { return strings.Contains(s.Raw(), "data: 2\n") })
				if !strings.Contains(s.Raw(), gap) {
					t.Errorf("no gap: %s", s)
				}
			}
		})
	}

	t.Run("or an error", func(t *testing.T) {
		before := counted(t, metrics.Failures.WithLabelValues("", "test_hub"))
		server, u := sharing(t, "max_record_size 10 error")
		a, b := get(t, server, "/"), get(t, server, "/")
		waitOpen(t, b)
		u.wait(t, 1)
		u.say("1\n", strings.Repeat("x", 50)+"\n")
		for _, s := range []*ssetest.Stream{a, b} {
			if body := brokenBody(t, s); !strings.HasSuffix(body, "event: sse-error\ndata: {\"reason\":\"record_too_large\"}\n\n") {
				t.Errorf("no error: %q", body)
			}
		}
		if n := counted(t, metrics.Failures.WithLabelValues("", "test_hub")) - before; n > 1 {
			t.Errorf("one upstream's failure counts as %v", n)
		}
	})
}

func TestKeysDecideWhoShares(t *testing.T) {
	u := newHub(t)
	server := startSharing(t, ssetest.Site(
		"@a query site=a\nhandle @a {\nsse {\nshare {query.key}\n}\nreverse_proxy "+ssetest.Upstream(t, u.ServeHTTP)+"\n}\n"+
			"handle {\nsse {\nshare {query.key}\n}\nreverse_proxy "+ssetest.Upstream(t, u.ServeHTTP)+"\n}\n"))
	for _, step := range []struct {
		path string
		want int
	}{
		{"/one?key=1&site=a", 1},
		{"/two?key=1&site=a", 1}, // as they say the same
		{"/two?key=2&site=a", 2},
		{"/one?key=1", 3}, // another next handler
		{"/one?key=1", 3},
		{"/none", 4},
		{"/other", 5}, // no key: host and URI
	} {
		waitOpen(t, get(t, server, step.path))
		u.wait(t, step.want)
	}

	t.Run("but never POST", func(t *testing.T) {
		r, _ := http.NewRequest(http.MethodPost, server.URL("h1", "/one?key=1&site=a"), strings.NewReader("x"))
		ssetest.Do(t, ssetest.Client(t, "h1"), r)
		u.wait(t, 6)
	})
}

func TestKeysOfDifferentPartsDoNotCollide(t *testing.T) {
	seen := make(map[string][]string)
	for _, parts := range [][]string{{}, {""}, {"", ""}, {"a"}, {"a", ""}, {"", "a"}, {"ab"}, {"a", "b"}, {"1:a"}, {"a1:b"}, {"1:a1:b"}} {
		key := sse.Key(parts...)
		if other, ok := seen[key]; ok {
			t.Errorf("%q and %q have the same key %q", parts, other, key)
		}
		seen[key] = parts
	}
}

func TestTheUpstreamIsKeptForLinger(t *testing.T) {
	t.Run("and no upstream is opened anew", func(t *testing.T) {
		server, u := sharing(t, "share {\nlinger 1h\n}")
		first := get(t, server, "/")
		u.wait(t, 1)
		u.say("1\n")
		id := first.WaitEvents(1)[0].ID
		first.Close()
		ssetest.Wait(t, "no stream", func() bool { return counted(t, metrics.StreamsActive.WithLabelValues("")) == 0 })
		u.say("2\n") // nobody is there
		wantEvents(t, get(t, server, "/", ssetest.LastEventID(id)), "2")
		if len(u.joined()) != 1 {
			t.Errorf("%d upstream connections, want 1", len(u.joined()))
		}
	})
	for name, linger := range map[string]string{"and no longer": "300ms", "or not at all": "0"} {
		t.Run(name, func(t *testing.T) {
			server, u := sharing(t, "share {\nlinger "+linger+"\n}")
			client := get(t, server, "/")
			u.wait(t, 1)
			client.Close()
			u.wait(t, 0)
			ssetest.Wait(t, "no source", func() bool {
				return counted(t, metrics.SourcesActive.WithLabelValues("")) == 0 && len(share.List()) == 0
			})
		})
	}
}

func TestAClientThatDoesNotReadDisturbsNobody(t *testing.T) {
	for _, lag := range []string{"disconnect", "skip"} {
		t.Run(lag, func(t *testing.T) {
			server, u := sharing(t, "share {\nhistory 5 100KB\nlag "+lag+"\n}")
			lagged, ended := counted(t, metrics.ClientsLagged.WithLabelValues("")), counted(t, metrics.StreamsEnded.WithLabelValues("", stream.EndLag))
			stuck, fine := get(t, server, "/stuck"), get(t, server, "/fine")
			waitOpen(t, stuck)
			u.wait(t, 1)
			stuck.Pause()
			record := strings.Repeat("x", 20_000)
			sent := 0
			ssetest.Wait(t, "the stuck client to fall behind", func() bool {
				for range 20 {
					sent++
					u.say(fmt.Sprintf("%d:%s\n", sent, record))
					fine.WaitEvents(sent)
				}
				return hasLagged("/stuck")
			})
			if lag == "skip" {
				stuck.Resume() // or else it cannot be told
			}
			ssetest.Wait(t, "the lag to be noticed", func() bool { return counted(t, metrics.ClientsLagged.WithLabelValues("")) > lagged })
			if lag == "disconnect" { // though the client takes nothing
				l := waitAccessLog(server, "/stuck")
				if l.Fields["end_reason"] != stream.EndLag {
					t.Errorf("end reason %v", l.Fields["end_reason"])
				}
				if counted(t, metrics.StreamsEnded.WithLabelValues("", stream.EndLag)) != ended+1 {
					t.Error("not counted as lag")
				}
				stuck.Resume()
				return
			}
			u.say("end\n")
			ssetest.Wait(t, "the last event", func() bool {
				e := stuck.Events()
				return len(e) > 0 && e[len(e)-1].Data == "end"
			})
			events := stuck.Events()
			i := slices.IndexFunc(events, func(e ssetest.Event) bool { return e.Type == frame.TypeGap })
			if i < 1 || i+1 == len(events) {
				t.Fatal("no sse-gap, or nothing around it")
			}
			if want := fmt.Sprintf(`{"reason":"lag","last_event_id":%q,"oldest_id":%q}`, events[i-1].ID, events[i+1].ID); events[i].Data != want {
				t.Errorf("gap %s, want %s", events[i].Data, want)
			}
		})
	}
}

// As long as it is blocked in a write, a stream cannot find out by itself.
func TestAClientThatTakesNothingIsDisconnectedWhenItIsBehind(t *testing.T) {
	server, u := sharing(t, "share {\nhistory 5 100KB\n}")
	lagged, ended := counted(t, metrics.ClientsLagged.WithLabelValues("")), counted(t, metrics.StreamsEnded.WithLabelValues("", stream.EndLag))
	client := get(t, server, "/")
	waitOpen(t, client)
	u.wait(t, 1)
	client.Pause()
	s := stream.All()[0]
	for sent := int64(1); !hasLagged("/"); sent++ {
		u.say(strings.Repeat("x", 20_000) + "\n")
		ssetest.Wait(t, "the record to be written, or the write to be blocked", func() bool {
			return s.Info().Events == sent || s.WritingFor() > 500*time.Millisecond || s.Ended()
		})
	}
	ssetest.Wait(t, "the stream to end", func() bool { return counted(t, metrics.StreamsEnded.WithLabelValues("", stream.EndLag)) == ended+1 })
	if n := counted(t, metrics.ClientsLagged.WithLabelValues("")) - lagged; n != 1 {
		t.Errorf("%v clients lagged, want 1", n)
	}
	client.Resume()
}
