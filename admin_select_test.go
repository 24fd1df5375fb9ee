package sse_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestAdminSelectsStreamsByTheirFields(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := ssetest.Upstream(t, staying(ndjson, "1\n"))
	server := ssetest.Start(t, withAdmin+ssetest.Site(logging+route("/a", "name orders", "reverse_proxy "+upstream)+route("/b", "", "reverse_proxy "+upstream)))
	streams := make(map[string]*ssetest.Stream)
	open := func(path string) {
		streams[path] = get(t, server, path)
		streams[path].WaitEvents(1)
	}
	for _, path := range []string{"/a?n=1", "/a?n=2", "/b", "/b?n=3"} {
		open(path)
	}
	for query, want := range map[string]int{
		"": 4, "name=orders": 2, "name=": 2, "uri=/b": 1, "uri=/a?n=REDACTED": 2, "client_ip=127.0.0.1": 4,
		"client_ip=127.0.0.1&name=orders": 2, "client_ip=192.0.2.1": 0, "uri=/b&name=orders": 0, "uri=/b&uri=/a?n=REDACTED": 3,
	} {
		if list := listed[map[string]any](t, server, "/sse/streams?"+query); len(list) != want {
			t.Errorf("%q selects %d streams, want %d", query, len(list), want)
		}
	}
	for query, status := range map[string]int{"": 400, "?": 400, "?id=1": 400, "?name=orders&nonsense=1": 400, "?name=%zz": 400, "?uri=/c": 204,
		"?name=": 400, "?name": 400, "?uri=/a&name=": 400, "?client_ip=": 400, "?name=orders&name=": 400} {
		if response, body := askAdmin(t, server, http.MethodDelete, "/sse/streams"+query); response.StatusCode != status {
			t.Errorf("DELETE %q: %d %s, want %d", query, response.StatusCode, body, status)
		}
	}
	if response, _ := askAdmin(t, server, http.MethodGet, "/sse/streams?nonsense=1"); response.StatusCode != http.StatusBadRequest {
		t.Errorf("GET with an unknown field: %d", response.StatusCode)
	}
	if response, _ := askAdmin(t, server, http.MethodPost, "/sse/streams"); response.StatusCode != http.StatusMethodNotAllowed || response.Header.Get("Allow") != "GET, DELETE" {
		t.Errorf("POST: %d, %v", response.StatusCode, response.Header)
	}
	if n := len(listStreams(t, server)); n != 4 {
		t.Fatalf("%d streams are left, want all", n)
	}
	if response, _ := askAdmin(t, server, http.MethodDelete, "/sse/streams?name=orders"); response.StatusCode != http.StatusNoContent {
		t.Errorf("DELETE: %d", response.StatusCode)
	}
	for _, path := range []string{"/a?n=1", "/a?n=2"} {
		_ = wholeBody(t, streams[path])
		if access := waitAccessLog(server, path); access.Fields["end_reason"] != "admin" {
			t.Errorf("access log: %v", access.Fields)
		}
	}
	if n := len(listStreams(t, server)); n != 2 {
		t.Errorf("%d streams are left, want 2", n)
	}
}

func TestAdminEndsASourceWithAllItsStreams(t *testing.T) {
	for name, always := range map[string]bool{"backend": false, "always shared": true} {
		t.Run(name, func(t *testing.T) {
			u := newHub(t)
			config, say := withAdmin+shared(u, "share"), u.say
			if always {
				address := ssetest.FreeAddress(t)
				config = withAdmin + site("backend listen udp/"+address, "")
				say = func(records ...string) {
					for _, record := range records {
						_ = ssetest.Send(t, "udp", address, record)
					}
				}
			}
			server := startSharing(t, config)
			first, second := get(t, server, "/"), get(t, server, "/")
			waitOpen(t, first)
			waitOpen(t, second)
			if !always {
				u.wait(t, 1)
			}
			say("1\n")
			last := wantEvents(t, first, "1")[0].ID
			wantEvents(t, second, "1")
			sources := listSources(t, server)
			if len(sources) != 1 || sources[0].ID == "" {
				t.Fatalf("sources %+v", sources)
			}
			for path, want := range map[string]int{"/sse/sources/": 404, "/sse/sources/x": 404} {
				if response, _ := askAdmin(t, server, http.MethodDelete, path); response.StatusCode != want {
					t.Errorf("DELETE %s: %d", path, response.StatusCode)
				}
			}
			if response, _ := askAdmin(t, server, http.MethodDelete, "/sse/sources/"+sources[0].ID); response.StatusCode != http.StatusNoContent {
				t.Errorf("DELETE: %d", response.StatusCode)
			}
			for _, s := range []*ssetest.Stream{first, second} {
				_ = wholeBody(t, s)
			}
			if reasons := fmt.Sprint(ended(server)); !slices.Contains([]string{"admin"}, waitAccessLog(server, "/").Fields["end_reason"].(string)) {
				t.Errorf("ended: %s", reasons)
			}
			if response, _ := askAdmin(t, server, http.MethodDelete, "/sse/sources/"+sources[0].ID); response.StatusCode != http.StatusNotFound && !always {
				t.Errorf("DELETE of a source that has ended: %d", response.StatusCode)
			}
			if always {
				ssetest.Wait(t, "the socket to be open again", func() bool { return len(listSources(t, server)) == 2 || listSources(t, server)[0].ID != sources[0].ID })
			}
			again := get(t, server, "/", ssetest.LastEventID(last))
			waitOpen(t, again)
			if !always {
				u.wait(t, 1)
			}
			ssetest.Wait(t, "the next record", func() bool {
				say("2\n")
				return len(again.Events()) > 0 && again.Events()[len(again.Events())-1].Data == "2"
			})
			if e := again.Events()[0]; e.Type != "sse-gap" {
				t.Errorf("got %+v, want a gap: the history is gone", e)
			}
		})
	}
}
