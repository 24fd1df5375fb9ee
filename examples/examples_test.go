// Package examples_test runs the examples whose services are not to be had here with recordings of what these services say,
// and holds all examples to what they have in common. Those with real servers are run by test/servers.
package examples_test

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	_ "github.com/seed-4dedbcea/caddy-sse"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func names(t *testing.T) []string {
	t.Helper()
	configs, err := filepath.Glob("*/Caddyfile")
	if err != nil || len(configs) < 20 {
		t.Fatalf("there are only %d examples: %v", len(configs), err)
	}
	for i, config := range configs {
		configs[i] = filepath.Dir(config)
	}
	return configs
}

// hasStore finds a store. Stores are modules of their own: the tests of stores/cmd/caddy have them, and adapt these configs.
var hasStore = regexp.MustCompile(`(?m)^\s*store \w`)

func TestEachExampleIsAConfigAsCaddyFormatsItAndAPageThatSaysHowItWasTried(t *testing.T) {
	index := read(t, "README.md")
	for _, name := range names(t) {
		t.Run(name, func(t *testing.T) {
			text := read(t, name+"/Caddyfile")
			if _, err := ssetest.Adapt(text); err != nil && !hasStore.MatchString(text) {
				t.Error(err)
			}
			if formatted := string(caddyfile.Format([]byte(text))); formatted != text {
				t.Error("is not formatted: run caddy fmt --overwrite on it")
			}
			page := read(t, name+"/README.md")
			if lines := strings.Count(page, "\n"); lines > 50 {
				t.Errorf("its README has %d lines, which is more than a screen", lines)
			}
			for _, words := range []string{"caddy run --config examples/" + name + "/Caddyfile", "\n## How it was tried\n"} {
				if !strings.Contains(page, words) {
					t.Errorf("its README does not say %q", words)
				}
			}
			if !regexp.MustCompile(`(?m)curl .*http://localhost:8080/|<http://localhost:8080/`).MatchString(page) {
				t.Error("its README says neither a curl line nor a page to open")
			}
			if !strings.Contains(index, "]("+name+"/)") {
				t.Error("is not in the list of examples/README.md")
			}
		})
	}
}

func TestTheConfigsOfTheImageAndThePodAreOnesThatCaddyTakes(t *testing.T) {
	_, pod, _ := strings.Cut(read(t, "../deploy/kubernetes/caddy-sse.yaml"), "  Caddyfile: |\n")
	pod, _, _ = strings.Cut(pod, "---\n")
	pod = regexp.MustCompile(`(?m)^ {4}`).ReplaceAllString(pod, "")
	for name, config := range map[string]string{"image": read(t, "../deploy/Caddyfile"), "pod": pod} {
		if adapted, err := ssetest.Adapt(config); err != nil || !strings.Contains(adapted, `"handler":"sse"`) {
			t.Errorf("%s: %v, %s", name, err, adapted)
		}
		if formatted := string(caddyfile.Format([]byte(config))); formatted != config {
			t.Errorf("%s is not formatted: %s", name, formatted)
		}
	}
}

// serve runs an example's config as it is, with these values of its variables.
func serve(t *testing.T, name string, env map[string]string) *ssetest.Server {
	t.Helper()
	t.Cleanup(share.CloseAll)
	for variable, value := range env {
		t.Setenv(variable, value)
	}
	config := strings.ReplaceAll(read(t, name+"/Caddyfile"), "{$SSE_LISTEN::8080}", `:{{port "http"}}`)
	return ssetest.Start(t, config)
}

// open opens a stream of an example as a browser would.
func open(t *testing.T, server *ssetest.Server, path string, options ...func(*http.Request)) *ssetest.Stream {
	t.Helper()
	s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", path), options...)
	if s.Status != http.StatusOK {
		t.Fatalf("%s is answered with %d", path, s.Status)
	}
	return s
}

func ask(t *testing.T, server *ssetest.Server, method, path, contentType, body string) *ssetest.Stream {
	t.Helper()
	r, err := http.NewRequest(method, server.URL("h1", path), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	return ssetest.Do(t, ssetest.Client(t, "h1"), r)
}

// want checks the first events, each as "type data".
func want(t *testing.T, s *ssetest.Stream, events ...string) []ssetest.Event {
	t.Helper()
	got := s.WaitEvents(len(events))
	for i, e := range got[:len(events)] {
		if text := e.Type + " " + e.Data; text != events[i] {
			t.Errorf("event %d is %q, want %q", i, text, events[i])
		}
	}
	return got
}

func ids(events []ssetest.Event) string {
	var all []string
	for _, e := range events {
		all = append(all, e.ID)
	}
	return strings.Join(all, " ")
}

// plays is a service that says what is recorded in a file, and then nothing more, or ends.
func plays(t *testing.T, file, contentType string, ends bool, check func(r *http.Request, body string)) string {
	t.Helper()
	recording := read(t, file)
	return ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if check != nil {
			check(r, string(body))
		}
		w.Header().Set("Content-Type", contentType)
		for line := range strings.Lines(recording) { // each at a time of its own
			_, _ = io.WriteString(w, line)
			_ = http.NewResponseController(w).Flush()
		}
		if !ends {
			<-r.Context().Done()
		}
	})
}

// command puts a script into the place of a command.
func command(t *testing.T, name, script string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Fatal("the recordings of commands are shell scripts")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

const answer = "/answers/8a0e2a8e-3ed2-4f2b-9f5c-0f3f0f9a7f11"

func TestOllamasAnswerIsReadAgainAfterAReloadAndTheModelIsAskedOnce(t *testing.T) {
	ssetest.NoLeaks(t)
	asked := make(chan string, 10)
	server := serve(t, "ollama", map[string]string{"PAGE": "ollama", "OLLAMA": plays(t, "ollama/transcript.ndjson", "application/x-ndjson", true,
		func(r *http.Request, body string) {
			asked <- r.Method + " " + r.URL.Path + " " + r.Header.Get("Origin") + body
		})})
	if s := ask(t, server, "GET", answer, "", ""); s.Status != http.StatusNoContent {
		t.Errorf("an answer that nobody asked for: status %d, want 204", s.Status)
	}
	if s := ask(t, server, "POST", answer, "text/plain", "{}"); s.Status != http.StatusUnsupportedMediaType {
		t.Errorf("what a form of another site can send: status %d, want 415", s.Status)
	}
	text := []string{"message The", "message  sky", "message  is\n", "message blue.", "message ", "done done"}
	first := ask(t, server, "POST", answer, "application/json", `{"model":"llama3.2"}`)
	events := want(t, first, text...)
	if err := first.WaitEnd(); err != nil {
		t.Errorf("the answer ended with %v", err)
	}
	want(t, open(t, server, answer), text...)
	want(t, open(t, server, answer, ssetest.LastEventID(events[2].ID)), text[3:]...)
	if got := <-asked; got != `POST /api/chat {"model":"llama3.2"}` || len(asked) != 0 {
		t.Errorf("Ollama was asked %q, and %d times more", got, len(asked))
	}
	for path, says := range map[string]string{"/": "<title>Ask Ollama", "/chat.js": "new EventSource", "/chat.css": "main {"} {
		s := ask(t, server, "GET", path, "", "")
		if err := s.WaitEnd(); err != nil || s.Status != http.StatusOK || !strings.Contains(s.Raw(), says) {
			t.Errorf("%s is answered with %d, %v", path, s.Status, err)
		}
	}
	for _, path := range []string{"/Caddyfile", "/README.md", "/api/tags"} {
		if s := ask(t, server, "GET", path, "", ""); s.WaitEnd() != nil || s.Raw() != "" {
			t.Errorf("%s can be read: %d", path, s.Status)
		}
	}
}

func TestAnOpenAIServersEventsReachSDKsAndPages(t *testing.T) {
	ssetest.NoLeaks(t)
	t.Setenv("OPENAI_API_KEY", "sk-secret")
	asked := make(chan string, 10)
	server := serve(t, "openai", map[string]string{"OPENAI": plays(t, "openai/transcript.txt", "text/event-stream", false,
		func(r *http.Request, _ string) {
			asked <- r.Method + " " + r.URL.Path + " " + r.Header.Get("Authorization")
		})})
	sdk := ask(t, server, "POST", "/v1/chat/completions", "application/json", `{"stream":true}`)
	events := sdk.WaitEvents(4)
	if err := sdk.WaitEnd(); err != nil { // though the server has not ended
		t.Errorf("the answer ended with %v", err)
	}
	if !strings.Contains(events[1].Data, `"content":"Hello"`) || events[3].Data != "[DONE]" || len(sdk.Events()) != 4 {
		t.Errorf("events are %+v", sdk.Events())
	}
	page := ask(t, server, "POST", answer, "application/json", `{"stream":true}`)
	page.WaitEvents(4)
	later := open(t, server, answer)
	if e := later.WaitEvents(4)[3]; e.Data != "[DONE]" {
		t.Errorf("who comes later gets %+v", e)
	}
	for range 2 {
		if got := <-asked; got != "POST /v1/chat/completions Bearer sk-secret" {
			t.Errorf("the server was asked %q", got)
		}
	}
	if len(asked) > 0 {
		t.Error("the server was asked once more")
	}
}

func TestAnOpenAIServerThatFailsIsAnErrorForEverySDK(t *testing.T) {
	ssetest.NoLeaks(t)
	server := serve(t, "openai", map[string]string{"OPENAI": ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"choices\":[]}\n\n")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})})
	s := ask(t, server, "POST", "/v1/chat/completions", "application/json", `{"stream":true}`)
	want(t, s, `message {"choices":[]}`, `message {"error":{"message":"the model's server has failed: upstream_error","code":502}}`)
	if s.WaitEnd() == nil {
		t.Error("the response ended as if it were whole")
	}
}

func TestAKubernetesWatchGoesOnFromItsVersionAndBeginsAnewAfter410(t *testing.T) {
	ssetest.NoLeaks(t)
	asked := make(chan string, 100)
	added, expired := read(t, "kubernetes/transcript.ndjson"), read(t, "kubernetes/expired.ndjson")
	server := serve(t, "kubernetes", map[string]string{"KUBERNETES": "http://" + ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		version := r.URL.Query().Get("resourceVersion")
		asked <- r.URL.Path + " from " + version
		w.Header().Set("Content-Type", "application/json")
		if version != "" { // it has been forgotten meanwhile
			_, _ = io.WriteString(w, expired)
			return
		}
		_, _ = io.WriteString(w, added)
		_ = http.NewResponseController(w).Flush()
		if len(asked) > 1 {
			<-r.Context().Done() // the second such watch lasts
		}
	})})
	s := open(t, server, "/")
	events := want(t, s,
		`ADDED {"name":"web-6d4b75cb6d-hr2xk","phase":"Running","node":"node-1"}`,
		`ADDED {"name":"web-6d4b75cb6d-zq8vn","phase":"Pending","node":null}`,
		`MODIFIED {"name":"web-6d4b75cb6d-zq8vn","phase":"Running","node":"node-2"}`,
		`BOOKMARK {"name":null,"phase":null,"node":null}`,
		"sse-error "+strings.TrimSpace(expired))
	if got := ids(events[:4]); got != "10245 10246 10251 12746" {
		t.Errorf("ids are %s", got)
	}
	if s.WaitEnd() == nil {
		t.Error("the response ended as if the watch had not failed")
	}
	back := open(t, server, "/", ssetest.LastEventID(s.State().LastEventID))
	ssetest.Wait(t, "what there is now", func() bool {
		events := back.Events()
		return slices.ContainsFunc(events, func(e ssetest.Event) bool { return e.Type == "sse-gap" }) &&
			slices.ContainsFunc(events, func(e ssetest.Event) bool { return e.Type == "ADDED" })
	})
	path := "/api/v1/namespaces/default/pods from "
	for i, version := range []string{"", "12746", ""} {
		if got := <-asked; got != path+version {
			t.Errorf("request %d was for %s, want %s", i, got, path+version)
		}
	}
}

func TestCouchDBsChangesGoOnAfterTheLastOne(t *testing.T) {
	ssetest.NoLeaks(t)
	asked := make(chan string, 100)
	server := serve(t, "couchdb", map[string]string{"COUCHDB": "http://admin:secret@" + plays(t, "couchdb/transcript.ndjson", "application/json", true,
		func(r *http.Request, _ string) {
			user, password, _ := r.BasicAuth()
			asked <- user + ":" + password + " " + r.URL.Path + " " + r.URL.Query().Get("since")
		}) + "/orders"})
	s := open(t, server, "/")
	s.WaitComments(2) // one of them is a heartbeat of CouchDB's
	events := s.WaitEvents(2)
	if got := ids(events[:2]); got != "1-g1AAAABteJzLYWBgYM 2-g1AAAABteJzLYWBgYQ" || !strings.Contains(events[1].Data, `"deleted":true`) {
		t.Errorf("events are %+v", events)
	}
	for i, since := range []string{"0", "02-g1AAAABteJzLYWBgYQ"} {
		if got := <-asked; got != "admin:secret /orders/_changes "+since {
			t.Errorf("request %d was %q, want since=%s", i, got, since)
		}
	}
}

func TestDockersEventsAndAContainersLogs(t *testing.T) {
	ssetest.NoLeaks(t)
	dir, err := os.MkdirTemp("", "") // the name of a socket has little space
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, "docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	recording := read(t, "docker/events.json")
	docker := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, recording)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})}
	go func() { _ = docker.Serve(listener) }()
	t.Cleanup(func() { docker.Close() })
	arguments, logs := filepath.Join(dir, "arguments"), filepath.Join(dir, "logs")
	if err := os.WriteFile(logs, []byte(read(t, "docker/logs.txt")), 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, "docker", `echo "$DOCKER_HOST $*" >>`+arguments+`; sed 1q `+logs+`; sed 1d `+logs+` >&2; exec sleep 600`)

	server := serve(t, "docker", map[string]string{"DOCKER_SOCKET": filepath.Join(dir, "docker.sock")})
	events := want(t, open(t, server, "/events"),
		`container {"action":"start","name":"web","time":1795601701}`,
		`network {"action":"connect","name":"bridge","time":1795601703}`)
	if got := ids(events); got != "1795601701301854122 1795601703301854122" {
		t.Errorf("ids are %s", got)
	}
	s := open(t, server, "/logs/web")
	s.WaitEvents(2)
	for _, line := range []string{
		`{"time":"2026-11-25T10:15:01.301854122Z","text":"172.17.0.1 - - [25/Nov/2026:10:15:01 +0000] \"GET / HTTP/1.1\" 200 615 \"-\" \"curl/8.14.1\""}`,
		`{"time":"2026-11-25T10:15:02.100000000Z","text":"worker \"1\" started"}`,
	} {
		if !slices.ContainsFunc(s.Events(), func(e ssetest.Event) bool { return e.Data == line }) {
			t.Errorf("no event says %s: %+v", line, s.Events())
		}
	}
	for _, path := range []string{"/logs/--help", "/logs/a%20b", "/logs/web/x", "/containers/json"} {
		if s := ask(t, server, "GET", path, "", ""); s.WaitEnd() != nil || s.Raw() != "" {
			t.Errorf("%s opens a stream", path)
		}
	}
	if got, want := read(t, arguments), "unix://"+filepath.Join(dir, "docker.sock")+" logs --follow --tail 100 --timestamps -- web\n"; got != want {
		t.Errorf("docker was called as %q, want %q", got, want)
	}
}

func TestAStreamOfGRPCGatewayLosesItsEnvelopeAndItsErrorIsOne(t *testing.T) {
	ssetest.NoLeaks(t)
	server := serve(t, "grpc-gateway", map[string]string{"GATEWAY": plays(t, "grpc-gateway/transcript.ndjson", "application/json", true, nil)})
	s := open(t, server, "/v1/orders:watch")
	events := want(t, s,
		`created {"id":"A10068","state":"created","revision":"7"}`, `paid {"id":"A10068","state":"paid","revision":"8"}`,
		`failed {"error":{"code":14,"message":"the warehouse is unavailable","details":[]}}`)
	if got := ids(events[:2]); got != "7 8" {
		t.Errorf("ids are %s", got)
	}
	if s.WaitEnd() == nil {
		t.Error("the response ended as if the method had not failed")
	}
	if s := ask(t, server, "GET", "/v1/orders", "", ""); s.WaitEnd() != nil || s.Raw() != "" {
		t.Error("another path reaches the gateway")
	}
}

func TestShipsSentencesAreToldFromOthersOnThePort(t *testing.T) {
	ssetest.NoLeaks(t)
	port := ssetest.FreeAddress(t)
	server := serve(t, "ais", map[string]string{"AIS": port})
	s := open(t, server, "/")
	s.WaitComments(1)
	conn, err := net.Dial("udp", port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sentences := read(t, "ais/transcript.nmea")
	first, rest, _ := strings.Cut(sentences, "\r\n")
	for _, datagram := range []string{first + "\r\n", "noise", rest} { // several sentences in one
		if _, err := io.WriteString(conn, datagram); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(rest, "\r\n")
	want(t, s, "VDM "+lines[0], "VDM "+lines[1], "VDM "+lines[2])
}

func TestMessagesOfNATSBecomeEventsIfTheyAreJSON(t *testing.T) {
	ssetest.NoLeaks(t)
	recording, err := filepath.Abs("nats/transcript.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	arguments := filepath.Join(t.TempDir(), "arguments")
	command(t, "nats", `echo "$*" >`+arguments+`; cat '`+recording+`'; exec sleep 600`)
	server := serve(t, "nats", nil)
	events := want(t, open(t, server, "/"),
		`order.created {"id":1,"type":"order.created","order":"A10068"}`,
		`order.paid {"id":2,"type":"order.paid","order":"A10068","amount":55.94}`)
	if got := ids(events); got != "1 2" {
		t.Errorf("ids are %s", got)
	}
	if got := read(t, arguments); got != "sub --raw --server nats://localhost:4222 orders.>\n" {
		t.Errorf("nats was called with %q", got)
	}
}

func TestCaddysOwnLogShowsRequestsButNotThoseOfItsReaders(t *testing.T) {
	server := serve(t, "caddy-log", map[string]string{"LOG": filepath.Join(t.TempDir(), "access.log")})
	s := open(t, server, "/log")
	s.WaitComments(1)
	for _, path := range []string{"/?first", "/?\"last\""} {
		if s := ask(t, server, "GET", path, "", ""); s.WaitEnd() != nil || s.Raw() != "hello" {
			t.Fatalf("the site answers %d, %q", s.Status, s.Raw())
		}
	}
	for i, e := range s.WaitEvents(2) {
		uri := []string{`"uri":"/?first"`, `"uri":"/?\"last\""`}[i]
		if e.Type != "GET" || !strings.Contains(e.Data, uri) || !strings.Contains(e.Data, `"status":200`) || e.ID == "" {
			t.Errorf("event %d is %+v, want one of %s", i, e, uri)
		}
	}
}
