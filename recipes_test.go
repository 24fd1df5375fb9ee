package sse_test

import (
	"cmp"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
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

var recipes = map[string]recipe{
	"A language model (Ollama)": {
		path: "/api/chat", method: http.MethodPost, body: `{"model":"m"}`,
		header: map[string]string{"Content-Type": "application/json", "Origin": "https://example.com"},
		with: instead("localhost:11434", "/api/chat", ndjson, `{"done":false}`+"\n",
			map[string]string{"Authorization": "", "Origin": ""}),
		events:  []string{`message {"done":false}`},
		reached: []string{`POST /api/chat {"model":"m"}`},
	},
	"A language model for OpenAI's clients": {
		path: "/api/chat", method: http.MethodPost, body: `{"model":"m"}`,
		header: map[string]string{"Content-Type": "application/json", "Origin": "https://example.com"},
		with: instead("localhost:11434", "/api/chat", ndjson, `{"done":true}`+"\n"+`{"after":"the end"}`+"\n",
			map[string]string{"Authorization": "", "Origin": ""}),
		events:  []string{`message {"done":true}`, `message [DONE]`},
		reached: []string{`POST /api/chat {"model":"m"}`},
	},
	"Answers that outlive the page": {
		path: "/answers/1", method: http.MethodPost, body: `{"model":"m"}`,
		header: map[string]string{"Content-Type": "application/json", "Origin": "https://example.com"},
		with: instead("localhost:11434", "/api/chat", ndjson, `{"done":true}`+"\n",
			map[string]string{"Authorization": "", "Origin": ""}),
		events:  []string{`message {"done":true}`, `message [DONE]`},
		reached: []string{`POST /api/chat {"model":"m"}`},
	},
	"Kubernetes watch": {
		path: "/pods",
		with: func(t *testing.T, config string) (string, *standIn) {
			handler, u := answers("/api/v1/pods?watch=1", "application/json",
				`{"type":"BOOKMARK","object":{}}`+"\n"+`{"type":"ADDED","object":{"metadata":{"name":"web-1"}}}`+"\n",
				map[string]string{"Authorization": "Bearer the-token", "Cookie": ""})
			server := httptest.NewTLSServer(handler)
			t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
			dir := t.TempDir()
			ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
			for name, content := range map[string][]byte{"token": []byte("the-token\n"), "ca.crt": ca} {
				if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			config = strings.ReplaceAll(config, "/var/run/secrets/kubernetes.io/serviceaccount", dir)
			return replaceOnce(t, config, "10.96.0.1", server.Listener.Addr().String()), u
		},
		events:  []string{"ADDED web-1"},
		reached: []string{"GET /api/v1/pods?watch=1"},
	},
	"CouchDB changes": {
		path: "/changes",
		with: instead("localhost:5984", "/orders/_changes?feed=continuous&heartbeat=10000&since=0", "application/json",
			`{"seq":"1-a","id":"o"}`+"\n", map[string]string{"Authorization": ""}),
		events:  []string{`message {"seq":"1-a","id":"o"}`},
		reached: []string{"GET /orders/_changes?feed=continuous&heartbeat=10000&since=0"},
	},
	"Docker events": {
		path: "/docker",
		with: func(t *testing.T, config string) (string, *standIn) {
			handler, u := answers("/events", "application/json", `{"Type":"container","timeNano":7}{"Type":"image","timeNano":8}`, nil)
			dir, err := os.MkdirTemp("", "") // the name of a socket has little space
			if err != nil {
				t.Fatal(err)
			}
			socket := filepath.Join(dir, "docker.sock")
			listener, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewUnstartedServer(handler)
			server.Listener.Close()
			server.Listener = listener
			server.Start()
			t.Cleanup(func() { server.CloseClientConnections(); server.Close(); os.RemoveAll(dir) })
			return replaceOnce(t, config, "/var/run/docker.sock", socket), u
		},
		events:  []string{`container {"Type":"container","timeNano":7}`},
		reached: []string{"GET /events"},
	},
	"etcd": {
		path: "/config",
		with: instead("localhost:2379", "/v3/watch", "application/json",
			`{"result":{"created":true}}`+"\n"+`{"result":{"events":[1]}}`+"\n", map[string]string{"Authorization": ""}),
		events:  []string{"message [1]"},
		reached: []string{`POST /v3/watch {"create_request":{"key":"L2NvbmZpZw==","range_end":"L2NvbmZpaA=="}}`},
	},
	"GPS (gpsd)": {
		path:    "/gps",
		with:    insteadTCP("localhost:2947", `?WATCH={"enable":true,"json":true};`+"\n", `{"class":"TPV"}`+"\r\n"),
		events:  []string{`TPV {"class":"TPV"}`},
		reached: []string{"a connection that said " + `?WATCH={"enable":true,"json":true};` + "\n"},
	},
	"Aircraft (dump1090)": {
		path: "/aircraft", public: true,
		with: insteadTCP("localhost:30003", "", "\r\nSTA,,5,179,400AE7,10103,2008/11/28,14:58:51.153,2008/11/28,14:58:51.153,RM\r\n"+
			"MSG,3,1,1,40621D,1,2026/11/25,03:04:05.678,2026/11/25,03:04:05.700,,38000,,,52.2572,3.91937,,,0,0,0,0\r\n"),
		events: []string{`msg-3 {"kind":"MSG","type":"3","hex":"40621D","callsign":"","altitude":"38000","speed":"","track":"","lat":"52.2572","lon":"3.91937",` +
			`"climb":"","squawk":"","alert":"0","emergency":"0","spi":"0","ground":"0"}`},
		reached: []string{"a connection that said "},
	},
	"Ships (AIS, NMEA 0183)": {
		path: "/ships",
		with: func(t *testing.T, config string) (string, *standIn) {
			return replaceOnce(t, config, "10110", `{{port "ais"}}`), new(standIn)
		},
		then: pushes("ais", "$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n", "noise",
			"!AIVDM,1,1,,A,13u?etPv2;0n:dDPwUM1U1Cb069D,0*24\r\n"),
		events: []string{"VDM !AIVDM,1,1,,A,13u?etPv2;0n:dDPwUM1U1Cb069D,0*24"},
	},
	"nginx's access log": {
		path: "/errors",
		with: func(t *testing.T, config string) (string, *standIn) {
			log := filepath.Join(t.TempDir(), "access.log")
			line := `127.0.0.1 - alice [25/Nov/2026:03:04:05 +0000] "GET /%s HTTP/1.1" %d 153 "-" "curl/8.14.1"` + "\n"
			if err := os.WriteFile(log, []byte(fmt.Sprintf(line, "fine", 200)+fmt.Sprintf(line, `\x22}<script>`, 502)), 0o600); err != nil {
				t.Fatal(err)
			}
			return replaceOnce(t, config, "/var/log/nginx/access.log", log+" {\nfrom start\n}"), new(standIn)
		},
		events: []string{`status-502 {"time":"25/Nov/2026:03:04:05 +0000","request":"GET /\\x22}<script> HTTP/1.1","from":"127.0.0.1"}`},
	},
	"Redis": {
		path:    "/redis",
		with:    insteadTCP("localhost:6379", "MONITOR\r\n", "+OK\r\n+1.2 \"SET\"\r\n"),
		events:  []string{`message +1.2 "SET"`},
		reached: []string{"a connection that said MONITOR\r\n"},
	},
	"MQTT (mosquitto)": {
		path:    "/mqtt",
		with:    insteadOfCommand("mosquitto_sub", `echo '{"topic":"sensors/a","payload":"20"}'; exec sleep 1000`),
		events:  []string{"sensors/a 20"},
		reached: []string{"-t sensors/# -F %j"},
	},
	"A command": {
		path:    "/ping?host=-f%20localhost",
		with:    insteadOfCommand("ping", `echo "64 bytes from $4"`),
		events:  []string{"message 64 bytes from -f localhost", "done done"},
		reached: []string{"-c 10 -- -f localhost"},
	},
	"A log file": {
		path: "/log",
		with: func(t *testing.T, config string) (string, *standIn) {
			log := filepath.Join(t.TempDir(), "access.log")
			if err := os.WriteFile(log, []byte(`{"logger":"before"}`+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			return strings.ReplaceAll(config, "/var/log/caddy/access.log", log), new(standIn)
		},
		events: []string{`before {"logger":"before"}`},
	},
	"Upstreams that push": {
		path: "/syslog",
		with: func(t *testing.T, config string) (string, *standIn) {
			return replaceOnce(t, config, "5140", `{{port "syslog"}}`), new(standIn)
		},
		then: pushes("syslog", "hello", "<15>Nov 25 03:04:05 host app[1]: for debugging", "<11>Nov 25 03:04:05 host app[1]: it broke",
			`<34>1 2026-11-25T03:04:06.007Z host su - ID47 [a b="c"] denied`),
		events: []string{
			`severity-3 {"facility":1,"severity":3,"timestamp":"Nov 25 03:04:05","hostname":"host","appname":"app","procid":"1","message":"it broke"}`,
			`severity-2 {"facility":4,"severity":2,"timestamp":"2026-11-25T03:04:06.007Z","hostname":"host","appname":"su","msgid":"ID47","structured_data":{"a":{"b":"c"}},"message":"denied"}`,
		},
	},
}

// pushes sends datagrams to a port of the server.
func pushes(port string, datagrams ...string) func(*testing.T, *ssetest.Server) {
	return func(t *testing.T, server *ssetest.Server) {
		conn, err := net.Dial("udp", server.Addr(port))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, text := range datagrams {
			_, _ = io.WriteString(conn, text)
		}
	}
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
