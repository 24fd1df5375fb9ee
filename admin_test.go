package sse_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// listStreams is what the admin API says of the streams.
func listStreams(t *testing.T, server *ssetest.Server) []stream.Info {
	t.Helper()
	return listed[stream.Info](t, server, "/sse/streams")
}

func listSources(t *testing.T, server *ssetest.Server) []share.Info {
	t.Helper()
	return listed[share.Info](t, server, "/sse/sources")
}

func listed[T any](t *testing.T, server *ssetest.Server, path string) (list []T) {
	t.Helper()
	response, body := askAdmin(t, server, http.MethodGet, path)
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("GET %s: status %d, content type %q", path, response.StatusCode, response.Header.Get("Content-Type"))
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil || list == nil {
		t.Fatalf("GET %s: %v: %s", path, err, body)
	}
	return list
}

// waitListedEvents waits until the streams have that many events together: one is counted after its client has it.
func waitListedEvents(t *testing.T, server *ssetest.Server, want int64) {
	t.Helper()
	ssetest.Wait(t, fmt.Sprintf("%d events in the list", want), func() bool {
		var sum int64
		for _, s := range listStreams(t, server) {
			sum += s.Events
		}
		return sum == want
	})
}

const secret = "hunter2"

func TestAdminEndsOneStreamOfMany(t *testing.T) {
	ssetest.NoLeaks(t)
	server := ssetest.Start(t, withAdmin+ssetest.Site(logging+route("/*", "", nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("1\n"))
		<-r.Context().Done()
	}))))
	if list := listStreams(t, server); len(list) != 0 {
		t.Fatalf("streams before there are any: %v", list)
	}
	const many, chosen = 1000, 137
	client := ssetest.Client(t, "h2c")
	var open []*ssetest.Stream
	for n := range many {
		s := ssetest.Get(t, client, server.URL("h2c", fmt.Sprintf("/%d?token=%s&%s", n, secret, secret)),
			ssetest.With("X-Forwarded-For", "192.0.2.7"), ssetest.With("Authorization", "Bearer "+secret), ssetest.With("Cookie", "session="+secret))
		open = append(open, s)
	}
	waitListedEvents(t, server, many)

	if _, body := askAdmin(t, server, http.MethodGet, "/sse/streams"); strings.Contains(body, secret) {
		t.Errorf("a secret is shown: %.300s", body)
	}
	var target stream.Info
	ids := make(map[string]bool)
	for _, s := range listStreams(t, server) {
		ids[s.ID] = true
		if strings.HasPrefix(s.URI, fmt.Sprintf("/%d?", chosen)) {
			target = s
		}
	}
	if len(ids) != many {
		t.Errorf("%d streams are listed, want %d", len(ids), many)
	}
	if target.URI != fmt.Sprintf("/%d?token=REDACTED&REDACTED", chosen) || target.ClientIP != "192.0.2.7" ||
		target.Protocol != "HTTP/2.0" || target.Backend != "next" || target.Server == "" || target.Since.IsZero() ||
		target.Events != 1 || target.Bytes != int64(len(":\ndata: 1\n\n")) || target.Behind != 0 {
		t.Errorf("stream is listed as %+v", target)
	}

	response, body := askAdmin(t, server, http.MethodDelete, "/sse/streams/"+target.ID)
	if response.StatusCode != http.StatusNoContent || body != "" {
		t.Errorf("ending a stream: status %d, %q", response.StatusCode, body)
	}
	wholeBody(t, open[chosen])
	ssetest.Wait(t, "the list to be shorter", func() bool { return len(listStreams(t, server)) == many-1 })
	for n, s := range open {
		if n != chosen && s.Err() != ssetest.ErrOpen {
			t.Errorf("stream %d ended, too: %v", n, s.Err())
		}
	}
	for _, s := range listStreams(t, server) {
		if s.ID == target.ID {
			t.Error("the stream that was ended is still listed")
		}
	}
	for _, id := range []string{target.ID, "", "0", "-1", "+1", "x", "1x", "1/2", "%2e%2e", "18446744073709551616", "99999999"} {
		response, body := askAdmin(t, server, http.MethodDelete, "/sse/streams/"+id)
		if response.StatusCode != http.StatusNotFound || !json.Valid([]byte(body)) {
			t.Errorf("ending stream %q: status %d, %q", id, response.StatusCode, body)
		}
	}
	if n := len(listStreams(t, server)); n != many-1 {
		t.Errorf("%d streams are left, want %d", n, many-1)
	}
}

func TestAdminRefusesOtherMethods(t *testing.T) {
	ssetest.NoLeaks(t)
	server := ssetest.Start(t, withAdmin+ssetest.Site("respond hi"))
	for path, allowed := range map[string]string{"/sse/streams": "GET, DELETE", "/sse/sources": "GET", "/sse/streams/1": "DELETE", "/sse/sources/1": "DELETE"} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			if slices.Contains(strings.Split(allowed, ", "), method) {
				continue
			}
			response, body := askAdmin(t, server, method, path)
			if response.StatusCode != http.StatusMethodNotAllowed || response.Header.Get("Allow") != allowed || !json.Valid([]byte(body)) {
				t.Errorf("%s %s: status %d, Allow %q, %q", method, path, response.StatusCode, response.Header.Get("Allow"), body)
			}
		}
	}
}

func TestAdminShowsHowSourcesAre(t *testing.T) {
	u := newHub(t)
	server := startSharing(t, withAdmin+ssetest.Site(
		route("/a", "backend test_hub "+u.name+"\nshare one {\nhistory 2\nlinger 0\n}", "")+
			route("/b", "backend test_hub "+u.name+"\nshare two {\nlinger 0\n}", "")))
	if list := listSources(t, server); len(list) != 0 {
		t.Fatalf("sources before there are any: %v", list)
	}
	streams := []*ssetest.Stream{get(t, server, "/a"), get(t, server, "/a"), get(t, server, "/b")}
	for _, s := range streams {
		waitOpen(t, s)
	}
	u.wait(t, 2)
	u.say("1\n", "2\n", "3\n")
	for _, s := range streams {
		wantEvents(t, s, "1 2 3")
	}
	list := listSources(t, server)
	if len(list) != 2 {
		t.Fatalf("%d sources: %+v", len(list), list)
	}
	first, second := list[0], list[1] // in the order in which they were opened
	if first.Streams != 2 || second.Streams != 1 {
		t.Errorf("streams of the sources: %d, %d", first.Streams, second.Streams)
	}
	for _, s := range list {
		if s.Backend != "test_hub" || s.State != share.IsLive || s.Records != 3 || s.Bytes == 0 || s.Reconnects != 0 || s.LastError != "" || s.Epoch == "" || s.Since.IsZero() {
			t.Errorf("source is listed as %+v", s)
		}
	}
	if first.Epoch == second.Epoch || first.History != 2 || second.History != 3 {
		t.Errorf("sources are listed as %+v, %+v", first, second)
	}
	waitListedEvents(t, server, 9)
	for _, s := range listStreams(t, server) {
		if s.Backend != "test_hub" || s.Events != 3 || s.Behind != 0 {
			t.Errorf("stream is listed as %+v", s)
		}
	}

	u.refuse(errHub)
	u.end(errHub)
	ssetest.Wait(t, "the sources to be listed as down", func() bool {
		down := 0
		for _, s := range listSources(t, server) {
			if s.State == share.IsDown && s.Reconnects > 0 && s.LastError == errHub.Error() {
				down++
			}
		}
		return down == 2
	})
	u.refuse(nil)
	ssetest.Wait(t, "the sources to be listed as live", func() bool {
		live := 0
		for _, s := range listSources(t, server) {
			if s.State == share.IsLive && s.Reconnects > 0 && s.LastError == "" {
				live++
			}
		}
		return live == 2
	})
	for _, s := range streams {
		s.Close()
	}
	ssetest.Wait(t, "the sources to go", func() bool { return len(listSources(t, server)) == 0 })
}

func TestAdminShowsNoSecretOfAnUpstreamThatFails(t *testing.T) {
	ssetest.NoLeaks(t)
	t.Cleanup(share.CloseAll)
	refused := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	garbled, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { garbled.Close() })
	go func() {
		for {
			conn, err := garbled.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("not HTTP\r\n\r\n"))
			conn.Close()
		}
	}()
	const rest = "/records?token=" + secret + " {\nheader Authorization \"Bearer " + secret + "\"\nbody " + secret + "\n}"
	backends := []string{
		`http http://user:` + secret + `@127.0.0.1:{{port "nobody"}}` + rest,
		`http https://user:` + secret + `@` + refused + rest, // TLS to who does not speak it
		`http http://user:` + secret + `@` + refused + rest,
		`http http://user:` + secret + `@` + garbled.Addr().String() + rest,
		`http http://user:` + secret + `@{query.host}` + rest, // which no request gives as one that can be parsed
		`http http://user:` + secret + `@{query.none}` + rest,
		`exec no-such-command ` + secret + " {\nenv TOKEN " + secret + "\n}",
		`exec sh -c "echo $1 >&2; exit 3" sh ` + secret + " {\nenv TOKEN " + secret + "\n}",
		`dial 127.0.0.1:{{port "nobody"}}` + " {\nsend " + secret + "\n}",
	}
	var routes strings.Builder
	for i, backend := range backends {
		routes.WriteString(route(fmt.Sprintf("/%d", i), "backend "+backend+"\nshare {\nlinger 0\n}", ""))
	}
	server := ssetest.Start(t, withAdmin+ssetest.Site(routes.String()))
	var streams []*ssetest.Stream
	for i := range backends {
		streams = append(streams, get(t, server, fmt.Sprintf("/%d?host=[&token=%s", i, secret)))
	}
	ssetest.Wait(t, "all to have failed", func() bool {
		failed := 0
		for _, s := range listSources(t, server) {
			if s.LastError != "" {
				failed++
			}
		}
		return failed == len(backends)
	})
	for _, path := range []string{"/sse/sources", "/sse/streams"} {
		if _, body := askAdmin(t, server, http.MethodGet, path); strings.Contains(body, secret) {
			t.Errorf("GET %s shows a secret: %s", path, body)
		}
	}
	for _, l := range server.Logs() {
		if strings.HasPrefix(l.Logger, "http.handlers.sse") && l.Level != "info" && strings.Contains(fmt.Sprint(l.Fields), secret) {
			t.Errorf("logged: %v", l.Fields)
		}
	}
	for _, s := range streams {
		s.Close()
	}
}

func TestAdminListsNoControlCharacterAsItIs(t *testing.T) {
	ssetest.NoLeaks(t)
	server := ssetest.Start(t, withAdmin+ssetest.Site(route("/*", "", nextHandler(t, staying(ndjson, "1\n")))))
	s := get(t, server, "/", func(r *http.Request) { r.URL.RawQuery = "a\u009b31m\u0085=1" })
	s.WaitEvents(1)
	_, body := askAdmin(t, server, http.MethodGet, "/sse/streams")
	if strings.ContainsAny(body, "\u009b\u0085") || !strings.Contains(body, `a\u009b31m\u0085=REDACTED`) {
		t.Errorf("listed as %q", body)
	}
	if list := listStreams(t, server); len(list) != 1 || list[0].URI != "/?a\u009b31m\u0085=REDACTED" {
		t.Errorf("decoded as %+v", list)
	}
}

// A client that takes nothing keeps a stream that ends by itself open for its stall timeout.
func TestAdminEndsAStreamThatEndsAlready(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := newScript(ndjson)
	const end = "stall_timeout 1h\nend done "
	server := ssetest.Start(t, withAdmin+ssetest.Site(route("/*", end+strings.Repeat("x", 256<<10), nextHandler(t, upstream.ServeHTTP))))
	client := ssetest.Client(t, "h2c")
	client.Transport.(*http.Transport).HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10} // no kernel takes the whole end
	s := ssetest.Get(t, client, server.URL("h2c", "/"), ssetest.With("Accept", "text/event-stream"))
	upstream.say("1\n")
	s.WaitEvents(1)
	s.Pause()
	close(upstream.pieces)
	stuck := stream.All()[0]
	ssetest.Wait(t, "the stream's last event to be stuck", func() bool { return stuck.Ended() && stuck.WritingFor() > 0 })
	response, _ := askAdmin(t, server, http.MethodDelete, "/sse/streams/"+listStreams(t, server)[0].ID)
	if response.StatusCode != http.StatusNoContent {
		t.Errorf("status %d", response.StatusCode)
	}
	ssetest.Wait(t, "the stream's end", func() bool { return len(stream.All()) == 0 })
}
