package sse_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// withAdmin is the beginning of a Caddyfile for a server that has an admin endpoint, and that trusts a proxy on this host.
const withAdmin = `{
	admin 127.0.0.1:{{port "admin"}}
	servers {
		trusted_proxies static 127.0.0.1/32
	}
}
`

// logging makes a site log the placeholders about its streams.
const logging = "log\nlog_append events {http.sse.events}\nlog_append bytes {http.sse.bytes}\nlog_append end_reason {http.sse.end_reason}\n"

// route is a part of a site with an sse of its own.
func route(path, options, next string) string {
	return "handle " + path + " {\nsse {\nheartbeat off\n" + options + "\n}\n" + next + "\n}\n"
}

// askAdmin sends a request to the admin endpoint.
func askAdmin(t *testing.T, server *ssetest.Server, method, path string) (response *http.Response, body string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+server.Addr("admin")+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := ssetest.Client(t, "h1")
	defer client.CloseIdleConnections()
	response, err = client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

const metricPrefix = "caddy_sse_"

// exposition returns the part of /metrics about event streams.
func exposition(t *testing.T, server *ssetest.Server) string {
	t.Helper()
	response, body := askAdmin(t, server, http.MethodGet, "/metrics")
	if response.StatusCode != http.StatusOK {
		t.Fatalf("/metrics: status %d, %s", response.StatusCode, body)
	}
	var ours strings.Builder
	for line := range strings.Lines(body) {
		if strings.Contains(line, metricPrefix) {
			ours.WriteString(line)
		}
	}
	return ours.String()
}

// withoutEmpty removes an empty label name, as Prometheus does.
var withoutEmpty = regexp.MustCompile(`{name=""}|name="",|,name=""`)

// scrape returns the value of each series, by its name without the prefix.
func scrape(t *testing.T, server *ssetest.Server) map[string]float64 {
	t.Helper()
	values := make(map[string]float64)
	for line := range strings.Lines(exposition(t, server)) {
		series, isSeries := strings.CutPrefix(strings.TrimSpace(line), metricPrefix)
		if !isSeries {
			continue
		}
		end := strings.LastIndexByte(series, ' ')
		value, err := strconv.ParseFloat(series[end+1:], 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		values[withoutEmpty.ReplaceAllString(series[:end], "")] = value
	}
	return values
}

// some stands for any increase.
var some = math.Inf(1)

// wantMoves does something, waits until the metrics have changed by want, and fails the test if others have, too.
// Metrics that depend on the duration of streams are ignored.
func wantMoves(t *testing.T, server *ssetest.Server, what string, want map[string]float64, do func()) {
	t.Helper()
	before := scrape(t, server)
	do()
	var moves map[string]float64
	for deadline := time.Now().Add(ssetest.Patience); ; time.Sleep(5 * time.Millisecond) {
		moves = make(map[string]float64)
		for series, value := range scrape(t, server) {
			if moved := value - before[series]; moved != 0 {
				moves[series] = moved
			}
			if want[series] == some && moves[series] > 0 {
				moves[series] = some
			}
		}
		maps.DeleteFunc(moves, func(series string, _ float64) bool {
			return strings.HasPrefix(series, "stream_duration_seconds_bucket") || strings.HasPrefix(series, "stream_duration_seconds_sum")
		})
		if maps.Equal(moves, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: metrics moved by %v, want %v", what, moves, want)
		}
	}
}

func TestEachMetricMovesAsItsNameSays(t *testing.T) {
	ssetest.NoLeaks(t)
	t.Cleanup(share.CloseAll)
	mapped, cut, events, u := newScript(ndjson), newScript("text/plain"), newScript("text/event-stream"), newHub(t)
	server := ssetest.Start(t, withAdmin+ssetest.Site(logging+
		route("/mapped", `where "record.keep == true"
			id {record.id}
			event {record.event}
			data {record.text}
			max_record_size 200
			on_invalid skip`, "reverse_proxy "+ssetest.Upstream(t, mapped.ServeHTTP))+
		route("/cut", "max_record_size 10 truncate", "reverse_proxy "+ssetest.Upstream(t, cut.ServeHTTP))+
		route("/events", "", "reverse_proxy "+ssetest.Upstream(t, events.ServeHTTP))+
		route("/down", "", `reverse_proxy 127.0.0.1:{{port "nobody"}}`)+
		route("/shared", "backend test_hub "+u.name+"\nshare {\nlinger 0\n}", "")))
	const opening = float64(len(":\n"))

	var open []*ssetest.Stream
	opens := func(path string) func() { return func() { open = append(open, get(t, server, path)) } }
	says := func(script *script, text string) func() { return func() { script.say(text) } }
	leave := func() {
		for _, s := range open {
			s.Close()
		}
		open = nil
	}

	for _, step := range []struct {
		what string
		do   func()
		want map[string]float64
	}{
		{"a stream opens", opens("/mapped"), map[string]float64{
			"streams_active": 1, `upstream_connects_total{backend="next"}`: 1, "bytes_total": opening,
		}},
		{"a record becomes an event", says(mapped, `{"keep":true,"text":"hi"}`+"\n"), map[string]float64{
			"events_total": 1, "bytes_total": float64(len("data: hi\n\n")),
		}},
		{"where is false", says(mapped, `{"keep":false,"text":"hi"}`+"\n"), map[string]float64{"records_filtered_total": 1}},
		{"where fails", says(mapped, `{"text":"hi"}`+"\n"), map[string]float64{`records_dropped_total{reason="where_failed"}`: 1}},
		{"a record is not JSON", says(mapped, "hi\n"), map[string]float64{`records_dropped_total{reason="invalid"}`: 1}},
		{"a record is too large", says(mapped, strings.Repeat("x", 300)+"\n"), map[string]float64{
			`records_dropped_total{reason="record_too_large"}`: 1,
			"bytes_total": float64(len(frame.AppendGap(nil, frame.Gap{Reason: frame.GapRecordTooLarge}))),
		}},
		{"an id has a line break", says(mapped, `{"keep":true,"text":"hi","id":"1\n2"}`+"\n"), map[string]float64{
			`fields_dropped_total{field="id"}`: 1, "events_total": 1, "bytes_total": float64(len("data: hi\n\n")),
		}},
		{"an event type has a line break", says(mapped, `{"keep":true,"text":"hi","event":"a\rb"}`+"\n"), map[string]float64{
			`fields_dropped_total{field="event"}`: 1, "events_total": 1, "bytes_total": float64(len("data: hi\n\n")),
		}},
		{"a client leaves", leave, map[string]float64{
			"streams_active": -1, `streams_ended_total{reason="client_gone"}`: 1, "stream_duration_seconds_count": 1,
		}},
		{"another stream opens", opens("/cut"), map[string]float64{
			"streams_active": 1, `upstream_connects_total{backend="next"}`: 1, "bytes_total": opening,
		}},
		{"a record is cut", says(cut, "0123456789abc\n"), map[string]float64{
			`records_dropped_total{reason="truncated"}`: 1, "events_total": 1, "bytes_total": float64(len("data: 0123456789\n\n")),
		}},
		{"an upstream breaks off", says(cut, abort), map[string]float64{
			"streams_active": -1, `streams_ended_total{reason="upstream_error"}`: 1, "stream_duration_seconds_count": 1,
			`upstream_failures_total{backend="next"}`: 1,
			"bytes_total": float64(len(frame.DefaultError.AppendTo(nil, frame.Failure{Reason: stream.EndUpstreamError}))),
		}},
		{"an upstream's own event stream passes through", func() { opens("/events")(); events.say("data: 1\n\n") }, map[string]float64{
			"streams_active": 1, `upstream_connects_total{backend="next"}`: 1, "bytes_total": float64(len("data: 1\n\n")),
		}},
		{"it ends", func() { close(events.pieces) }, map[string]float64{
			"streams_active": -1, `streams_ended_total{reason="upstream_end"}`: 1, "stream_duration_seconds_count": 1,
		}},
		{"an upstream is not there", func() {
			s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/down"))
			if s.Status != http.StatusBadGateway {
				t.Errorf("status %d of an upstream that is not there", s.Status)
			}
		}, map[string]float64{`upstream_failures_total{backend="next"}`: 1, `upstream_connects_total{backend="next"}`: 1}},
		{"a shared stream opens", func() { leave(); opens("/shared")() }, map[string]float64{
			"streams_active": 1, "sources_active": 1, "source_up": 1, `upstream_connects_total{backend="test_hub"}`: 1, "bytes_total": some,
		}},
		{"another one shares its source", opens("/shared"), map[string]float64{"streams_active": 1, "bytes_total": some}},
		{"a record reaches both", func() { u.say("1\n") }, map[string]float64{"events_total": 2, "bytes_total": some}},
		{"their upstream fails and is opened anew", func() { u.end(errHub) }, map[string]float64{
			`upstream_failures_total{backend="test_hub"}`: 1, `upstream_connects_total{backend="test_hub"}`: 1,
		}},
		{"it ends cleanly and is opened anew", func() { u.wait(t, 1); u.end(nil) }, map[string]float64{
			`upstream_connects_total{backend="test_hub"}`: 1,
		}},
		{"both leave", leave, map[string]float64{
			"streams_active": -2, "sources_active": -1, `streams_ended_total{reason="client_gone"}`: 2,
			"stream_duration_seconds_count": 2,
		}},
	} {
		wantMoves(t, server, step.what, step.want, step.do)
	}

	_ = get(t, server, "/shared").WaitComments(1) // a source, which metrics tell of
	text := exposition(t, server)
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Error(err)
	}
	for _, p := range problems {
		t.Errorf("metric %s: %s", p.Metric, p.Text)
	}
	var names []string
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, "# TYPE "+metricPrefix); ok {
			names = append(names, strings.Fields(name)[0])
		}
	}
	slices.Sort(names)
	if want := []string{
		"bytes_total", "clients_lagged_total", "events_total", "fields_dropped_total", "records_dropped_total",
		"records_filtered_total", "source_up", "sources_active", "stream_duration_seconds", "streams_active",
		"streams_ended_total", "streams_refused_total", "upstream_connects_total", "upstream_failures_total",
	}; !slices.Equal(names, want) {
		t.Errorf("metrics are %q, want %q", names, want)
	}
	values := scrape(t, server)
	for _, reason := range stream.EndReasons {
		if _, ok := values[fmt.Sprintf("streams_ended_total{reason=%q}", reason)]; !ok {
			t.Errorf("there is no series for %s before the first stream ends so", reason)
		}
	}
	if values["stream_duration_seconds_sum"] <= 0 ||
		values[`stream_duration_seconds_bucket{le="+Inf"}`] != values["stream_duration_seconds_count"] {
		t.Errorf("durations do not add up:\n%s", text)
	}
}

func TestCountsGoOnOverReloads(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := newScript(ndjson)
	address := ssetest.Upstream(t, upstream.ServeHTTP)
	config := withAdmin + ssetest.Site(route("/a", "on_reload keep", "reverse_proxy "+address)+route("/b", "", "reverse_proxy "+address))
	server := ssetest.Start(t, config)
	var s *ssetest.Stream
	wantMoves(t, server, "opening and reloading", map[string]float64{
		"streams_active": 1, `upstream_connects_total{backend="next"}`: 1, "bytes_total": 2,
	}, func() {
		s = get(t, server, "/a")
		s.WaitComments(1)
		server.Reload(config)
		server.Reload(config + "\n")
	})
	wantMoves(t, server, "an event of a stream of before", map[string]float64{
		"events_total": 1, "bytes_total": float64(len("data: 1\n\n")),
	}, func() { upstream.say("1\n") })
	wantMoves(t, server, "the end of a stream of before", map[string]float64{
		"streams_active": -1, `streams_ended_total{reason="client_gone"}`: 1, "stream_duration_seconds_count": 1,
	}, s.Close)
	for line := range strings.Lines(exposition(t, server)) {
		if strings.HasPrefix(line, "# HELP") && strings.Count(exposition(t, server), line) != 1 {
			t.Errorf("more than once: %s", line)
		}
	}
}

func TestClientsAndPathsAddNoLabelValue(t *testing.T) {
	ssetest.NoLeaks(t)
	t.Cleanup(share.CloseAll)
	u := newHub(t)
	server := ssetest.Start(t, withAdmin+ssetest.Site(
		route("/own/*", "", "reverse_proxy "+ssetest.Upstream(t, saying("text/plain", "1\n")))+
			route("/shared/*", "backend test_hub "+u.name+"\nshare {uri} {\nlinger 0\n}", "")))
	client := ssetest.Client(t, "h2c")
	visit := func(n int) {
		for _, path := range []string{"/own/%d?q=%d", "/shared/%d?q=%d"} {
			s := ssetest.Get(t, client, server.URL("h2c", fmt.Sprintf(path, n, n)),
				ssetest.With("X-Forwarded-For", fmt.Sprintf("192.0.2.%d", n)),
				ssetest.With("User-Agent", fmt.Sprint("browser ", n)), ssetest.LastEventID(fmt.Sprint("id ", n)))
			s.WaitComments(1)
			if strings.HasPrefix(path, "/own") {
				wholeBody(t, s)
			}
			s.Close()
		}
	}
	ended := func() (sum float64) {
		for series, value := range scrape(t, server) {
			if strings.HasPrefix(series, "streams_ended_total") {
				sum += value
			}
		}
		return sum
	}
	series := func() []string { return slices.Sorted(maps.Keys(scrape(t, server))) }

	start := ended()
	visit(0)
	ssetest.Wait(t, "the first visit's end", func() bool { return ended() == start+2 })
	before := series()
	const clients = 1000
	for n := 1; n <= clients; n++ {
		visit(n)
	}
	ssetest.Wait(t, "the visits' end", func() bool { return ended() == start+2+2*clients })
	if after := series(); !slices.Equal(before, after) {
		t.Errorf("series were %q, are %q", before, after)
	}
}

func TestTheAccessLogNamesWhyEachStreamEnded(t *testing.T) {
	ssetest.NoLeaks(t)
	t.Cleanup(share.CloseAll)
	scripts := make(map[string]*script)
	var routes strings.Builder
	scripted := func(reason, options string) {
		u := newScript("text/plain")
		scripts[reason] = u
		routes.WriteString(route("/"+reason, options, "reverse_proxy "+ssetest.Upstream(t, u.ServeHTTP)))
	}
	scripted(stream.EndUpstreamEnd, "end done")
	scripted(stream.EndUpstreamError, "")
	scripted(stream.EndClientGone, "")
	scripted(stream.EndShutdown, "drain 50ms")
	scripted(stream.EndRecordTooLarge, "max_record_size 10 error")
	scripted(stream.EndAdmin, "")
	routes.WriteString(route("/"+stream.EndMaxDuration, "max_duration 1s", "reverse_proxy "+ssetest.Upstream(t, staying("text/plain", "1\n"))))
	routes.WriteString(route("/"+stream.EndClientStalled, "stall_timeout 300ms", nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, strings.Repeat("x", 10_000)+"\n")
		}
	})))
	u := newHub(t)
	routes.WriteString(route("/"+stream.EndLag, "backend test_hub "+u.name+"\nshare {\nhistory 5 100KB\nlinger 0\n}", ""))
	server := ssetest.Start(t, withAdmin+ssetest.Site(logging+routes.String()))

	for _, c := range []struct {
		reason string
		cause  func(s *ssetest.Stream)
		events float64
		more   map[string]float64
	}{
		{stream.EndUpstreamEnd, func(*ssetest.Stream) { close(scripts[stream.EndUpstreamEnd].pieces) }, 2, nil},
		{stream.EndUpstreamError, func(*ssetest.Stream) { scripts[stream.EndUpstreamError].say(abort) }, 1, map[string]float64{`upstream_failures_total{backend="next"}`: 1}},
		{stream.EndClientGone, func(s *ssetest.Stream) { s.Close() }, 1, nil},
		{stream.EndClientStalled, func(s *ssetest.Stream) { s.Pause() }, some, nil},
		{stream.EndMaxDuration, func(*ssetest.Stream) {}, 1, nil},
		{stream.EndLag, func(s *ssetest.Stream) { fallBehind(t, u, s, "/"+stream.EndLag) }, some, map[string]float64{"clients_lagged_total": 1}},
		{stream.EndRecordTooLarge, func(*ssetest.Stream) { scripts[stream.EndRecordTooLarge].say("0123456789abc\n") }, 1, map[string]float64{
			`upstream_failures_total{backend="next"}`: 1, `records_dropped_total{reason="record_too_large"}`: 1,
		}},
		{stream.EndAdmin, func(*ssetest.Stream) {
			for _, info := range listStreams(t, server) {
				askAdmin(t, server, http.MethodDelete, "/sse/streams/"+info.ID)
			}
		}, 1, nil},
		{stream.EndShutdown, func(*ssetest.Stream) {
			server.Reload(withAdmin + ssetest.Site(logging+route("/new", "", "respond new")))
		}, 1, nil},
	} {
		path := "/" + c.reason
		want := map[string]float64{
			fmt.Sprintf("streams_ended_total{reason=%q}", c.reason): 1, "stream_duration_seconds_count": 1,
			"events_total": c.events, "bytes_total": some,
		}
		backend := "next"
		if c.reason == stream.EndLag {
			backend = "test_hub"
		}
		want[fmt.Sprintf("upstream_connects_total{backend=%q}", backend)] = 1
		maps.Copy(want, c.more)
		var s *ssetest.Stream
		wantMoves(t, server, c.reason, want, func() {
			s = get(t, server, path)
			if u := scripts[c.reason]; u != nil {
				u.say("1\n")
				s.WaitEvents(1)
			}
			c.cause(s)
		})

		access := waitAccessLog(server, path)
		if access.Fields["end_reason"] != c.reason {
			t.Errorf("%s: end reason %v", c.reason, access.Fields["end_reason"])
		}
		if c.events == some {
			if access.Fields["events"].(float64) < 1 || access.Fields["bytes"].(float64) < 1 {
				t.Errorf("%s: %v events, %v bytes", c.reason, access.Fields["events"], access.Fields["bytes"])
			}
			s.Close()
			continue
		}
		_ = s.WaitEnd()
		if access.Fields["events"] != c.events || access.Fields["bytes"] != float64(len(s.Raw())) {
			t.Errorf("%s: logged %v events and %v bytes, want %v and %d", c.reason, access.Fields["events"], access.Fields["bytes"], c.events, len(s.Raw()))
		}
	}
}

// fallBehind makes a client fall behind by more than the history holds, and then continues to read.
func fallBehind(t *testing.T, u *hub, s *ssetest.Stream, path string) {
	t.Helper()
	u.wait(t, 1)
	u.say("1\n")
	waitSent(t, path)
	s.Pause()
	ssetest.Wait(t, "the client to fall behind", func() bool {
		for range 20 {
			u.say(noise())
		}
		return hasLagged(path)
	})
	s.Resume()
}

// waitSent waits until a stream has been sent an event, which its client may not be able to see, for its encoding.
func waitSent(t *testing.T, path string) {
	t.Helper()
	ssetest.Wait(t, "an event to be sent to "+path, func() bool {
		return slices.ContainsFunc(stream.All(), func(s *stream.Stream) bool {
			return s.Request.URL.Path == path && s.Info().Events > 0
		})
	})
}

// noise returns a line that cannot be compressed.
func noise() string {
	bytes := make([]byte, 15_000)
	for i := range bytes {
		bytes[i] = byte(rand.Int())
	}
	return base64.StdEncoding.EncodeToString(bytes) + "\n"
}
