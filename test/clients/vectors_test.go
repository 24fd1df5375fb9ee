//go:build integration

package clients_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// A vector is an event stream by the letter, and what a browser has to make of it (WHATWG HTML §9.2.6). They cover what
// web-platform-tests' eventsource/format-* do, and more.
type vector struct {
	Name        string         `json:"name"`
	ContentType string         `json:"content_type"`
	Bytes       string         `json:"bytes"` // each character is the byte of that number
	Events      []browserEvent `json:"events"`
	LastEventID string         `json:"last_event_id"` // with which the browser comes back
	Retry       int            `json:"retry"`         // after so many milliseconds; 0 if the stream does not say
}

// TestABrowserReadsAnEventStreamThroughSSEAsItDoesWithout gives each vector to Chromium, directly, passed through and
// converted, at once and with silences for heartbeats in it.
func TestABrowserReadsAnEventStreamThroughSSEAsItDoesWithout(t *testing.T) {
	var vectors []vector
	text, err := os.ReadFile("vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	types := []string{"message"}
	for _, v := range vectors {
		for _, e := range v.Events {
			if !slices.Contains(types, e.Type) {
				types = append(types, e.Type)
			}
		}
	}

	u := &vectorUpstream{vectors: vectors, returns: make(map[string]string)}
	u.address = ssetest.Upstream(t, u.serve)
	chromium := nodeDriver(t)
	server := ssetest.Start(t, ssetest.Site(fmt.Sprintf(`handle /passed/* {
	sse {
		heartbeat 20ms
	}
	reverse_proxy %[1]s
}
handle /converted/* {
	sse {
		format event_stream
		heartbeat 20ms
	}
	reverse_proxy %[1]s
}
handle {
	reverse_proxy %[1]s
}`, u.address)))

	var all sync.WaitGroup
	jobs := 0
	slots := make(chan struct{}, 30)
	for i, v := range vectors {
		for _, way := range []string{direct, passed, converted} {
			for _, pace := range []string{"at once", "with silences"} {
				base, path := server.URL("h1", ""), fmt.Sprintf("/%s/%d/%s", way, i, strings.Fields(pace)[0])
				if way == direct {
					base = "http://" + u.address
				}
				jobs++
				j := job{ID: jobs, Client: "vectors", Base: base, Path: path, Types: types, Patience: patience.Milliseconds()}
				slots <- struct{}{}
				all.Go(func() {
					defer func() { <-slots }()
					said := chromium.do(j)
					report := func(format string, args ...any) {
						t.Errorf("%s, %s, %s: %s", v.Name, way, pace, fmt.Sprintf(format, args...))
					}
					if said.Error != "" {
						report("%s", said.Error)
					}
					if len(said.Events)+len(v.Events) > 0 && !reflect.DeepEqual(said.Events, v.Events) {
						report("events are %+v, want %+v", said.Events, v.Events)
					}
					if id := u.returnOf(path); id != v.LastEventID {
						report("it comes back with %q, want %q", id, v.LastEventID)
					}
				})
			}
			url := server.URL("h1", fmt.Sprintf("/%s/%d/raw", way, i)) // the rest of the site passes it on as it is
			if retry := retryOf(t, url); retry != time.Duration(v.Retry)*time.Millisecond {
				t.Errorf("%s, %s: the stream says to come back after %s, want %d ms", v.Name, way, retry, v.Retry)
			}
		}
	}
	all.Wait()
}

// retryOf is the reconnection time that a stream says, if it does.
func retryOf(t *testing.T, url string) time.Duration {
	t.Helper()
	request, _ := http.NewRequest(http.MethodGet, url, nil)
	request.Header.Set("Accept", "text/event-stream")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	var parser ssetest.Parser
	parser.Feed(body)
	return parser.Retry
}

// A vectorUpstream says a vector at the first request for a path, and at the second that there is no more.
type vectorUpstream struct {
	address string
	vectors []vector

	mu      sync.Mutex
	returns map[string]string // Last-Event-ID of the second request, by path; before that, ""
}

func (u *vectorUpstream) returnOf(path string) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.returns[path]
}

func (u *vectorUpstream) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/page" {
		servePage(w)
		return
	}
	var i int
	var way, pace string
	if _, err := fmt.Sscanf(strings.ReplaceAll(r.URL.Path, "/", " "), "%s %d %s", &way, &i, &pace); err != nil {
		http.NotFound(w, r)
		return
	}
	u.mu.Lock()
	_, returned := u.returns[r.URL.Path]
	u.returns[r.URL.Path] = r.Header.Get("Last-Event-ID")
	u.mu.Unlock()
	if returned {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	v := u.vectors[i]
	w.Header().Set("Content-Type", "text/event-stream")
	if v.ContentType != "" {
		w.Header().Set("Content-Type", v.ContentType)
	}
	var body []byte
	for _, r := range v.Bytes {
		body = append(body, byte(r))
	}
	pieces := [][]byte{body}
	if pace == "with" {
		third := len(body) / 3
		pieces = [][]byte{body[:third], body[third : 2*third], body[2*third:]}
	}
	for _, piece := range pieces {
		_, _ = w.Write(piece)
		_ = http.NewResponseController(w).Flush()
		if len(pieces) > 1 {
			time.Sleep(70 * time.Millisecond)
		}
	}
}
