package sse_test

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// recipe is what a recipe of the documentation promises.
type recipe struct {
	path    string
	method  string // default: GET
	body    string
	header  map[string]string
	public  bool     // it asks for no password
	events  []string // "type data" of the first
	reached []string // all that reaches the upstream, whatever clients ask for

	// with puts a stand-in into the place of the recipe's upstream.
	with func(t *testing.T, config string) (string, *standIn)
	// then makes the upstream speak, once a stream is open.
	then func(t *testing.T, server *ssetest.Server)
}

// standIn is an upstream that notes what reaches it.
type standIn struct {
	mu   sync.Mutex
	seen []string
	read func() []string // in place of seen
}

func (u *standIn) note(what string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.seen = append(u.seen, what)
}

// reached is what has come, each thing once.
func (u *standIn) reached() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	seen := slices.Clone(u.seen)
	if u.read != nil {
		seen = u.read()
	}
	slices.Sort(seen)
	return slices.Compact(seen)
}

// answers is a stand-in that answers a request for uri with these records, and all others with 404. It notes which
// header fields a request should not have, or should have otherwise.
func answers(uri, contentType, text string, header map[string]string) (http.HandlerFunc, *standIn) {
	u := new(standIn)
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		what := strings.TrimSpace(r.Method + " " + r.URL.RequestURI() + " " + string(body))
		for name, want := range header {
			if got := r.Header.Get(name); got != want {
				what += fmt.Sprintf(" (with %s: %s)", name, got)
			}
		}
		u.note(what)
		if r.URL.RequestURI() != uri {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", contentType)
		_, _ = io.WriteString(w, text)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}, u
}

// instead puts an HTTP server in the place of address.
func instead(address, uri, contentType, text string, header map[string]string) func(*testing.T, string) (string, *standIn) {
	return func(t *testing.T, config string) (string, *standIn) {
		handler, u := answers(uri, contentType, text, header)
		return replaceOnce(t, config, address, ssetest.Upstream(t, handler)), u
	}
}

// insteadTCP puts a server in the place of address that wants to hear something first, and says something.
func insteadTCP(address, hears, says string) func(*testing.T, string) (string, *standIn) {
	return func(t *testing.T, config string) (string, *standIn) {
		u := new(standIn)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var serving sync.WaitGroup
		serving.Go(func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				serving.Go(func() {
					defer conn.Close()
					heard := make([]byte, len(hears))
					_, _ = io.ReadFull(conn, heard)
					_, _ = io.WriteString(conn, says)
					more, _ := io.ReadAll(conn)
					u.note("a connection that said " + string(heard) + string(more))
				})
			}
		})
		t.Cleanup(func() { listener.Close(); serving.Wait() })
		return replaceOnce(t, config, address, listener.Addr().String()), u
	}
}

// insteadOfCommand puts a script in the place of a command. It notes its arguments.
func insteadOfCommand(name, says string) func(*testing.T, string) (string, *standIn) {
	return func(t *testing.T, config string) (string, *standIn) {
		dir := t.TempDir()
		notes := filepath.Join(dir, "notes")
		script := "#!/bin/sh\necho \"$*\" >>'" + notes + "'\n" + says + "\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
		return config, &standIn{read: func() []string {
			text, _ := os.ReadFile(notes)
			return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")[:strings.Count(string(text), "\n")]
		}}
	}
}

func replaceOnce(t *testing.T, config, old, text string) string {
	t.Helper()
	if strings.Count(config, old) != 1 {
		t.Fatalf("%s is there %d times:\n%s", old, strings.Count(config, old), config)
	}
	return strings.Replace(config, old, text, 1)
}

// passwordHash is `caddy hash-password --bcrypt-cost 4` of secret.
const passwordHash = "$2a$04$1AmlOdrXh8/ul5nPGTcf/OBkE9be5MTwsesr9w.CWgFv02quXwhCK"

// recipesOf are the configs of the pages of recipes, by their headings. All else that asks for a password is one of them, too.
func recipesOf(t *testing.T) map[string]string {
	t.Helper()
	isRecipes := func(page string) bool {
		return slices.Contains([]string{"docs/recipes.md", "docs/language-models.md", "docs/logs-and-text.md"}, page)
	}
	configs := make(map[string]string)
	for _, b := range blocks(t, func(string) bool { return true }) {
		if b.language != "caddyfile" || !isRecipes(b.page) && !strings.Contains(b.text, "{$PASSWORD_HASH}") {
			continue
		}
		if configs[b.heading] != "" {
			t.Errorf("%s: there are two recipes %q", b.page, b.heading)
		}
		configs[b.heading] = b.text
	}
	return configs
}

// TestEachRecipeServesItsEventsAndNothingElseOfItsUpstream runs the documentation's recipes as they stand there, with
// stand-ins for their upstreams.
func TestEachRecipeServesItsEventsAndNothingElseOfItsUpstream(t *testing.T) {
	configs := recipesOf(t)
	if there, tried := slices.Sorted(maps.Keys(configs)), slices.Sorted(maps.Keys(recipes)); !slices.Equal(there, tried) {
		t.Fatalf("recipes are %q, those that are tried are %q", there, tried)
	}
	for heading, r := range recipes {
		t.Run(heading, func(t *testing.T) {
			if heading != "A log file" { // Caddy's own log file leaves a goroutine
				ssetest.NoLeaks(t)
			}
			t.Cleanup(share.CloseAll)
			t.Setenv("PASSWORD_HASH", passwordHash)
			config, upstream := r.with(t, configs[heading])
			server := ssetest.Start(t, replaceOnce(t, config, "example.com {", `http://localhost:{{port "http"}} {`))
			client := ssetest.Client(t, "h1")
			ask := func(method, path, password string, header map[string]string) *ssetest.Stream {
				t.Helper()
				request, err := http.NewRequest(method, server.URL("h1", path), strings.NewReader(r.body))
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("Accept", "text/event-stream")
				request.Header.Set("Cookie", "session=1")
				for name, value := range header {
					request.Header.Set(name, value)
				}
				if password != "" {
					request.SetBasicAuth("alice", password)
				}
				return ssetest.Do(t, client, request)
			}
			method := cmp.Or(r.method, http.MethodGet)
			below, _, _ := strings.Cut(r.path, "?")

			if !r.public {
				for _, password := range []string{"", "guessed"} {
					if s := ask(method, r.path, password, r.header); s.Status != http.StatusUnauthorized {
						t.Errorf("password %q: status %d, want 401", password, s.Status)
					}
				}
			}
			for _, probe := range []string{
				"GET /", "GET /version", "GET /events", "GET /containers/json", "POST /containers/create", "GET /api/v1/secrets",
				"GET /api/v1/pods", "POST /api/pull", "DELETE /api/delete", "GET /_all_dbs", "POST /v3/kv/range", "GET /access.log",
				"GET " + below + "/more", "GET /x" + below, "GET " + below + "/../../etc/passwd", "GET " + below + "%2f..%2fversion",
			} {
				probed, path, _ := strings.Cut(probe, " ")
				if s := ask(probed, path, secret, r.header); s.Header.Get("Content-Type") == "text/event-stream" {
					t.Errorf("%s opens a stream", probe)
				} else if err := s.WaitEnd(); err != nil || s.Raw() != "" {
					t.Errorf("%s is answered %q, %v", probe, s.Raw(), err)
				}
			}
			if reached := upstream.reached(); len(reached) > 0 {
				t.Errorf("refused requests reached the upstream: %q", reached)
			}

			s := ask(method, r.path, secret, r.header)
			if s.Status != http.StatusOK {
				t.Fatalf("status %d, header %v", s.Status, s.Header)
			}
			if r.then != nil {
				s.WaitComments(1)
				r.then(t, server)
			}
			for i, e := range s.WaitEvents(len(r.events)) {
				if got := e.Type + " " + e.Data; got != r.events[i] {
					t.Errorf("event %d is %q, want %q", i, got, r.events[i])
				}
			}
			s.Close()
			for _, probed := range []string{"GET", "PUT", "DELETE", "OPTIONS"} {
				ask(probed, r.path, secret, map[string]string{"Connection": "upgrade", "Upgrade": "tcp", "Range": "bytes=0-"}).Close()
			}
			share.CloseAll() // so that stand-ins notice the end of connections
			ssetest.Wait(t, "the upstream to have been reached", func() bool { return len(upstream.reached()) >= len(r.reached) })
			if reached := upstream.reached(); !slices.Equal(reached, r.reached) {
				t.Errorf("the upstream was reached by %q, want %q", reached, r.reached)
			}
		})
	}
}
