//go:build integration

package clients_test

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// An upstream answers by the path of the request: /<way>/<case>/<dialect>/<run>/…
type upstream struct {
	address string

	mu   sync.Mutex
	runs map[string]*run
}

// A run is what one client does in one case in one way.
type run struct {
	url      string
	held     chan struct{} // is closed when the first half of the answer is said, in the cases of a reload
	hold     sync.Once
	resume   chan struct{} // is closed when it may go on
	requests int           // of the answer, under upstream.mu
}

func newUpstream(t *testing.T) *upstream {
	u := &upstream{runs: make(map[string]*run)}
	u.address = ssetest.Upstream(t, u.serve)
	return u
}

// add makes a run, whose path begins with prefix.
func (u *upstream) add(prefix string) *run {
	u.mu.Lock()
	defer u.mu.Unlock()
	r := &run{url: fmt.Sprintf("%s/%d", prefix, len(u.runs)), held: make(chan struct{}), resume: make(chan struct{})}
	u.runs[r.url] = r
	return r
}

func (u *upstream) requestsOf(r *run) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return r.requests
}

func (u *upstream) serve(w http.ResponseWriter, r *http.Request) {
	if name, ok := strings.CutPrefix(r.URL.Path, "/modules/"); ok {
		serveModule(w, r, name)
		return
	}
	if r.URL.Path == "/page" {
		servePage(w)
		return
	}
	parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/"), "/", 5)
	if len(parts) < 4 {
		http.NotFound(w, r)
		return
	}
	u.mu.Lock()
	run := u.runs["/"+strings.Join(parts[:4], "/")]
	u.mu.Unlock()
	if run == nil {
		http.NotFound(w, r)
		return
	}
	request, _ := io.ReadAll(r.Body)
	if parts[2] == "mcp" && !servesCall(w, r, request) {
		return
	}
	u.mu.Lock()
	run.requests++
	first := run.requests == 1
	u.mu.Unlock()
	c := cases[slices.IndexFunc(cases, func(c testCase) bool { return c.name == parts[1] })]
	s := &saying{ResponseWriter: w, request: r, run: run, first: first, say: asEventStream}
	s.answer(parts[0], c, parts[2], request)
}

// saying is one answer that is being said.
type saying struct {
	http.ResponseWriter
	request *http.Request
	run     *run
	first   bool
	say     func(event) string
}

func (s *saying) answer(way string, c testCase, words string, request []byte) {
	contentType := "text/event-stream"
	if records := way == converted || way == shared || words == "ollama"; records {
		contentType, s.say = "application/x-ndjson", asLine
	}
	payloads := make([]string, c.events)
	for i := range payloads {
		payloads[i] = payload(i+1, c.size)
	}
	a := dialects[words](payloads, request)
	if words == "openai" && contentType == "text/event-stream" {
		a.after = append(a.after, event{data: "[DONE]"})
	}
	if html := words == "htmx" || words == "turbo"; html && contentType != "text/event-stream" {
		for i, e := range a.payloads {
			a.payloads[i].data = object("n", i+1, "html", e.data)
		}
	}
	// Without sse the upstream itself does what sse is asked to do.
	resumes := words == "plain" || words == "htmx" || words == "turbo"
	if resumes && way == direct && c.ends {
		a.after = append(a.after, event{id: fmt.Sprint(c.events + 1), name: "done", data: "done"})
	}
	from, _ := strconv.Atoi(s.request.Header.Get("Last-Event-ID"))
	if resumes && from >= len(a.payloads) {
		s.WriteHeader(http.StatusNoContent)
		return
	}
	s.Header().Set("Content-Type", contentType)
	s.WriteHeader(http.StatusOK)
	s.flush()
	if way == direct && c.way == shared {
		_, _ = io.WriteString(s, "id: 0\n\n") // so that who has seen nothing can come back
		s.flush()
	}
	a.payloads = a.payloads[from:]
	s.script(way, c, a)
}

// script says the answer as the case wants it.
func (s *saying) script(way string, c testCase, a answer) {
	half := len(a.before) + len(a.payloads)/2
	events := a.events()
	switch {
	case c.quiet == beforeTheFirst:
		s.wait(silence)
		s.all(events)
	case c.quiet == betweenTwo:
		s.all(events[:half])
		s.wait(silence)
		s.all(events[half:])
	case c.breaks && s.first:
		s.all(events[:half])
		s.wait(100 * time.Millisecond) // so that what was said has been read
		panic(http.ErrAbortHandler)
	case c.reloads && s.first:
		s.all(events[:half])
		s.run.hold.Do(func() { close(s.run.held) })
		select {
		case <-s.run.resume:
		case <-s.request.Context().Done():
			return
		}
		if s.request.Method == http.MethodGet {
			// Streams that can be taken up again are ended by a server that is restarted; answers come to their end.
			if way == direct && c.way == converted {
				_, _ = io.WriteString(s, "retry: 500\n\n") // so that they do not all come back at once
			}
			if way == direct {
				return
			}
			s.wait(10 * time.Second)
		}
		s.all(events[half:])
	default:
		s.all(events)
	}
}

func (s *saying) all(events []event) {
	for i, e := range events {
		if _, err := io.WriteString(s, s.say(e)); err != nil {
			return
		}
		if len(events) < 100 || i%100 == 0 {
			s.flush()
		}
	}
	s.flush()
}

func (s *saying) flush() { _ = http.NewResponseController(s.ResponseWriter).Flush() }

func (s *saying) wait(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.request.Context().Done():
	}
}

// servesCall answers all requests of an MCP client but the call of a tool, which is left to the caller.
func servesCall(w http.ResponseWriter, r *http.Request, request []byte) bool {
	if r.Method != http.MethodPost {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return false
	}
	var message struct {
		ID     any
		Method string
		Params struct{ ProtocolVersion string }
	}
	if err := json.Unmarshal(request, &message); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	switch {
	case message.Method == "tools/call":
		return true
	case message.ID == nil:
		w.WriteHeader(http.StatusAccepted)
	default:
		result := map[string]any{}
		if message.Method == "initialize" {
			result = map[string]any{"protocolVersion": message.Params.ProtocolVersion, "serverInfo": map[string]any{"name": "u", "version": "1"},
				"capabilities": map[string]any{"tools": map[string]any{}, "logging": map[string]any{}}}
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, object("jsonrpc", "2.0", "id", message.ID, "result", result))
	}
	return false
}

// servePage serves the page that clients of a browser live in.
func servePage(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, `<!DOCTYPE html><title>client</title><body><div id="shown" hidden></div></body>`)
}

// serveModule serves the libraries that run in a browser, from what npm has installed.
func serveModule(w http.ResponseWriter, r *http.Request, name string) {
	modules := os.DirFS("node/node_modules")
	name = path.Clean(name)
	if info, err := fs.Stat(modules, name); err != nil || info.IsDir() {
		name += ".js" // as bundlers do
	}
	http.ServeFileFS(w, r, modules, name)
}
