package sse_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestMetricsTellTwoSSEApartByTheirNames(t *testing.T) {
	ssetest.NoLeaks(t)
	t.Cleanup(share.CloseAll)
	prices, news, u := newScript(ndjson), newScript(ndjson), newHub(t)
	mapping := `where "record.keep == true"
		id {record.id}
		max_record_size 60
		on_invalid skip
	`
	server := ssetest.Start(t, withAdmin+ssetest.Site(
		route("/prices", "name prices\n"+mapping, "reverse_proxy "+ssetest.Upstream(t, prices.ServeHTTP))+
			route("/news", "name news\n"+mapping, "reverse_proxy "+ssetest.Upstream(t, news.ServeHTTP))+
			route("/shared", "name hub\nbackend test_hub "+u.name+"\nshare {\nlinger 0\n}", "")))

	var s, shared *ssetest.Stream
	wantMoves(t, server, "a stream of one of them", map[string]float64{
		`streams_active{name="prices"}`: 1, `upstream_connects_total{backend="next",name="prices"}`: 1,
		`bytes_total{name="prices"}`: float64(len(eventstream.Comment)),
	}, func() { s = get(t, server, "/prices") })
	wantMoves(t, server, "what it says", map[string]float64{
		`events_total{name="prices"}`: 1, `bytes_total{name="prices"}`: some,
		`records_filtered_total{name="prices"}`:                          1,
		`records_dropped_total{name="prices",reason="where_failed"}`:     1,
		`records_dropped_total{name="prices",reason="invalid"}`:          1,
		`records_dropped_total{name="prices",reason="record_too_large"}`: 1,
		`fields_dropped_total{field="id",name="prices"}`:                 1,
	}, func() {
		prices.say(`{"keep":true,"id":"a\nb"}`+"\n", `{"keep":false}`+"\n", `{}`+"\n", "x\n", strings.Repeat("x", 70)+"\n")
	})
	wantMoves(t, server, "its end", map[string]float64{
		`streams_active{name="prices"}`: -1, `streams_ended_total{name="prices",reason="client_gone"}`: 1,
		`stream_duration_seconds_count{name="prices"}`: 1,
	}, func() { s.Close() })
	wantMoves(t, server, "a shared stream of another", map[string]float64{
		`streams_active{name="hub"}`: 1, `sources_active{name="hub"}`: 1, `source_up{name="hub"}`: 1,
		`upstream_connects_total{backend="test_hub",name="hub"}`: 1, `bytes_total{name="hub"}`: some,
	}, func() { shared = get(t, server, "/shared") })
	wantMoves(t, server, "the other's end", map[string]float64{
		`streams_active{name="hub"}`: -1, `sources_active{name="hub"}`: -1,
		`streams_ended_total{name="hub",reason="client_gone"}`: 1, `stream_duration_seconds_count{name="hub"}`: 1,
	}, func() { shared.Close() })
}

func TestEverySeriesOfANameIsThereFromTheStart(t *testing.T) {
	ssetest.NoLeaks(t)
	server := ssetest.Start(t, withAdmin+ssetest.Site(route("/a", "name from-the-start", `reverse_proxy 127.0.0.1:{{port "nobody"}}`)))
	var names []string
	for series := range maps.Keys(scrape(t, server)) {
		if name, labels, _ := strings.Cut(series, "{"); strings.Contains(labels, `name="from-the-start"`) && !strings.HasPrefix(name, "stream_duration") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if want := []string{
		"bytes_total", "clients_lagged_total", "events_total", "fields_dropped_total", "records_dropped_total",
		"records_filtered_total", "sources_active", "streams_active", "streams_ended_total", "streams_refused_total",
		"upstream_connects_total", "upstream_failures_total",
	}; !slices.Equal(slices.Compact(names), want) {
		t.Errorf("series of %q, want %q", names, want)
	}
}

func TestASourceWhoseNameChangesMovesItsMetrics(t *testing.T) {
	ssetest.NoLeaks(t)
	t.Cleanup(share.CloseAll)
	u := newHub(t)
	config := func(name string) string {
		return withAdmin + ssetest.Site(route("/shared", "drain 0\nname "+name+"\nbackend test_hub "+u.name+"\nshare {\nlinger 1h\n}", ""))
	}
	server := ssetest.Start(t, config("before"))
	waitOpen(t, get(t, server, "/shared"))
	server.Reload(config("after"))
	wantMoves(t, server, "a client of the new config", map[string]float64{
		`sources_active{name="before"}`: -1, `sources_active{name="after"}`: 1, `source_up{name="after"}`: 1,
		`streams_active{name="after"}`: 1, `bytes_total{name="after"}`: some,
	}, func() { waitOpen(t, get(t, server, "/shared")) })
	wantMoves(t, server, "a record", map[string]float64{
		`events_total{name="after"}`: 1, `bytes_total{name="after"}`: some,
	}, func() { u.say("1\n") })
}

func TestASourceIsUpForAsLongAsItsUpstreamIsThere(t *testing.T) {
	ssetest.NoLeaks(t)
	t.Cleanup(share.CloseAll)
	u := newHub(t)
	server := ssetest.Start(t, withAdmin+ssetest.Site(
		route("/hub", "name up\nbackend test_hub "+u.name+"\nshare", "")+
			route("/nobody", "name up\nbackend dial 127.0.0.1:{{port \"nobody\"}}\nshare {\nlinger 0\n}", "")))
	up := func() (value float64, there bool) {
		value, there = scrape(t, server)[`source_up{name="up"}`]
		return value, there
	}
	is := func(want float64) func() bool {
		return func() bool { value, there := up(); return there && value == want }
	}
	if _, there := up(); there {
		t.Error("without a source there is none to be up")
	}
	get(t, server, "/hub")
	ssetest.Wait(t, "the source to be up", is(1))
	other := get(t, server, "/nobody")
	ssetest.Wait(t, "one of two sources to be down", is(0))
	other.Close()
	ssetest.Wait(t, "the one that is left to be up", is(1))
	u.refuse(errHub)
	u.end(errHub)
	ssetest.Wait(t, "it to be down", is(0))
	u.refuse(nil)
	ssetest.Wait(t, "it to be up again", is(1))
}

func TestARefusedStreamIsCountedAndLogged(t *testing.T) {
	ssetest.NoLeaks(t)
	for reason, c := range map[string]struct {
		options string
		status  int
		accept  string
		level   string
	}{
		metrics.RefusedAccept:              {"", http.StatusNotAcceptable, "image/png", "debug"},
		metrics.RefusedMaxStreams:          {"max_streams 1", http.StatusServiceUnavailable, "text/event-stream", "warn"},
		metrics.RefusedMaxStreamsPerClient: {"max_streams_per_client 1", http.StatusTooManyRequests, "text/event-stream", "debug"},
	} {
		t.Run(reason, func(t *testing.T) {
			server := ssetest.Start(t, withAdmin+ssetest.Site("sse {\nname full\nheartbeat off\n"+c.options+"\n}\n"+
				"reverse_proxy "+ssetest.Upstream(t, staying("text/plain", "1\n"))))
			get(t, server, "/").WaitEvents(1)
			ssetest.Wait(t, "its event to be counted", func() bool { return stream.All()[0].Info().Events == 1 })
			wantMoves(t, server, reason, map[string]float64{`streams_refused_total{name="full",reason="` + reason + `"}`: 1}, func() {
				s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/?token="+secret), ssetest.With("Accept", c.accept))
				if s.Status != c.status {
					t.Errorf("status %d, want %d", s.Status, c.status)
				}
				s.Close()
			})
			lines := ours(server, "stream refused")
			if len(lines) != 1 {
				t.Fatalf("%d lines, want 1", len(lines))
			}
			if l := lines[0]; l.Level != c.level || l.Fields["reason"] != reason || l.Fields["name"] != "full" || l.Fields["uri"] != "/?token=REDACTED" {
				t.Errorf("logged at %s: %v", l.Level, l.Fields)
			}
		})
	}
}

func TestANameIsShownByTheAdminAPIAndInTheLog(t *testing.T) {
	ssetest.NoLeaks(t)
	t.Cleanup(share.CloseAll)
	u := newHub(t)
	server := ssetest.Start(t, withAdmin+ssetest.Site(
		route("/named", "name prices\nbackend test_hub "+u.name+"\nshare {\nlinger 0\n}", "")+
			route("/other", "", "reverse_proxy "+ssetest.Upstream(t, staying("text/plain", "1\n")))))
	named, other := get(t, server, "/named"), get(t, server, "/other")
	for _, c := range []struct{ path, want string }{{"/sse/streams", `"name":"prices"`}, {"/sse/sources", `"name":"prices"`}} {
		if _, body := askAdmin(t, server, http.MethodGet, c.path); strings.Count(body, `"name":`) != 1 || !strings.Contains(body, c.want) {
			t.Errorf("%s: %s", c.path, body)
		}
	}
	named.Close()
	other.Close()
	ssetest.Wait(t, "both streams' ends", func() bool { return len(ours(server, "stream ended")) == 2 })
	for _, l := range ours(server, "stream ended") {
		if name, has := l.Fields["name"]; has != (l.Fields["uri"] == "/named") || has && name != "prices" {
			t.Errorf("logged: %v", l.Fields)
		}
	}
}
