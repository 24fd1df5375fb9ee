//go:build integration

package servers_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestEtcdChangesBecomeEvents(t *testing.T) {
	client, peer := freeAddress(t), freeAddress(t)
	etcd := start(t, "etcd", "--data-dir", t.TempDir(),
		"--listen-client-urls", "http://"+client, "--advertise-client-urls", "http://"+client,
		"--listen-peer-urls", "http://"+peer, "--initial-advertise-peer-urls", "http://"+peer,
		"--initial-cluster", "default=http://"+peer, "--logger", "zap")
	etcd.waitListening(t, client)
	ask := func(method string, request map[string]string) {
		for field, text := range request {
			request[field] = base64.StdEncoding.EncodeToString([]byte(text))
		}
		body, _ := json.Marshal(request)
		response, err := http.Post("http://"+client+"/v3/kv/"+method, "application/json", strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if said, _ := io.ReadAll(response.Body); response.StatusCode != 200 {
			t.Fatalf("etcd answered %s: %s", response.Status, said)
		}
	}
	s := open(t, serve(t, "etcd", "ETCD=http://"+client))
	ssetest.Wait(t, "the watch to be there", func() bool {
		ask("put", map[string]string{"key": "/config/ready", "value": "?"})
		return len(s.Events()) > 0
	})
	ask("put", map[string]string{"key": "/elsewhere", "value": "not watched"})
	ask("put", map[string]string{"key": "/config/greeting", "value": "hello\nworld"})
	ask("deleterange", map[string]string{"key": "/config/greeting"})

	type change struct {
		Type string
		KV   struct {
			Key, Value []byte // json makes bytes of base64
			Revision   string `json:"mod_revision"`
		}
	}
	await(t, s, "the deletion", saying(`"DELETE"`))
	var said []string
	for _, e := range s.Events() {
		var changes []change
		if err := json.Unmarshal([]byte(e.Data), &changes); err != nil || len(changes) != 1 {
			t.Fatalf("event %+v is not one change: %v", e, err)
		}
		if c := changes[0]; e.ID != c.KV.Revision {
			t.Errorf("event %+v does not have the change's revision, %s, as its id", e, c.KV.Revision)
		} else if string(c.KV.Key) != "/config/ready" {
			said = append(said, fmt.Sprintf("%s %s %q", c.Type, c.KV.Key, c.KV.Value))
		}
	}
	if got, want := strings.Join(said, ", "), ` /config/greeting "hello\nworld", DELETE /config/greeting ""`; got != want {
		t.Errorf("changes are %s, want %s", got, want)
	}
	checkIDs(t, s)
}

func TestTheJournalBecomesEventsAndGoesOnAfterARestartOfGatewayd(t *testing.T) {
	dir := t.TempDir()
	entry := func(second int, fields string) {
		export := fmt.Sprintf("__REALTIME_TIMESTAMP=17000000%02d000000\n__MONOTONIC_TIMESTAMP=%d\n%s\n", second, second, fields)
		run(t, "systemd-journal-remote", "-o", filepath.Join(dir, "remote.journal"), write(t, "export", export))
	}
	address := freeAddress(t)
	startGatewayd := func() *process {
		gatewayd := start(t, "systemd-socket-activate", "-l", address, program(t, "systemd-journal-gatewayd"), "-D", dir)
		gatewayd.waitListening(t, address)
		return gatewayd
	}
	entry(1, "MESSAGE=first\nPRIORITY=6\nSYSLOG_IDENTIFIER=app\n")
	gatewayd := startGatewayd()
	s := open(t, serve(t, "journald", "JOURNAL=http://"+address+"/entries?follow"))
	s.WaitEvents(1)
	entry(2, "MESSAGE=second\nPRIORITY=4\nSYSLOG_IDENTIFIER=app\n")
	entry(3, "PRIORITY=4\nSYSLOG_IDENTIFIER=has_no_message\n")
	entry(4, "MESSAGE=third\nPRIORITY=3\nSYSLOG_IDENTIFIER=app\n")
	s.WaitEvents(3)

	gatewayd.stop()
	entry(5, "MESSAGE=fourth\nPRIORITY=6\nSYSLOG_IDENTIFIER=app\n")
	startGatewayd()
	await(t, s, "the entry of the time in between", saying("fourth"))

	var said []string
	for _, e := range s.Events() {
		said = append(said, e.Type+" "+e.Data)
		if !strings.HasPrefix(e.ID, "s=") {
			t.Errorf("event %+v does not have a cursor as its id", e)
		}
	}
	want := "6 app: first, 4 app: second, 3 app: third, 3 app: third, 6 app: fourth"
	if got := strings.Join(said, ", "); got != want {
		t.Errorf("events are %s, want %s", got, want)
	}
}

func TestRecordsBehindNginxBecomeEvents(t *testing.T) {
	// A service that says a record at a time, the next one when it has been told to go on.
	goOn := make(chan struct{})
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		for i := range 3 {
			fmt.Fprintf(w, "{\"id\":%d,\"type\":\"live\"}\n", i)
			w.(http.Flusher).Flush()
			<-goOn
		}
	}))
	defer service.Close()
	defer close(goOn)

	files, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	address, dir := freeAddress(t), t.TempDir()
	config := write(t, "nginx.conf", fmt.Sprintf(`
		daemon off; master_process off; pid %[1]s/pid; error_log stderr;
		events {}
		http {
			access_log off;
			client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
			types { application/x-ndjson ndjson; }
			gzip on; gzip_types application/x-ndjson; gzip_proxied any; gzip_min_length 0;
			server {
				listen %[2]s;
				location / { root %[3]s; }
				location /live.ndjson { proxy_pass %[4]s; proxy_buffering off; }
			}
		}`, dir, address, files, service.URL))
	start(t, "nginx", "-p", dir, "-c", config).waitListening(t, address)
	url := serve(t, "nginx", "NGINX="+address)

	t.Run("a file, to its end", func(t *testing.T) {
		s := open(t, url+"/orders.ndjson")
		if err := s.WaitEnd(); err != nil {
			t.Errorf("the stream ended with %v", err)
		}
		events := s.Events()
		for i, e := range events[:len(events)-1] {
			var order struct {
				ID   int
				Type string
			}
			if err := json.Unmarshal([]byte(e.Data), &order); err != nil || e.ID != fmt.Sprint(i+1) || order.ID != i+1 || order.Type != e.Type {
				t.Errorf("event %d is %+v: %v", i, e, err)
			}
		}
		if end := events[len(events)-1]; end.Type != "done" {
			t.Errorf("the last event is %+v, want one of type done", end)
		}
		again, err := ssetest.Client(t, "h1").Do(request(t, url+"/orders.ndjson", "text/event-stream", s.State().LastEventID))
		if err != nil || again.StatusCode != http.StatusNoContent {
			t.Errorf("coming back was answered %v, %v, want 204", again, err)
		}
	})
	t.Run("a live response, record by record", func(t *testing.T) {
		s := open(t, url+"/live.ndjson")
		for i := range 3 {
			if e := s.WaitEvents(i + 1)[i]; e.Type != "live" || e.ID != fmt.Sprint(i) {
				t.Errorf("event %d is %+v", i, e)
			}
			goOn <- struct{}{}
		}
		s.WaitEnd()
	})
	t.Run("as they are, to clients that do not ask for events", func(t *testing.T) {
		response, err := ssetest.Client(t, "h1").Do(request(t, url+"/orders.ndjson", "application/x-ndjson", ""))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		if response.Header.Get("Content-Type") != "application/x-ndjson" || !strings.HasPrefix(string(body), `{"id":1,`) {
			t.Errorf("got %v, %.100q", response.Header, body)
		}
	})
	t.Run("an error stays one", func(t *testing.T) {
		response, err := ssetest.Client(t, "h1").Do(request(t, url+"/missing.ndjson", "text/event-stream", ""))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusNotFound || response.Header.Get("Content-Type") != "text/html" {
			t.Errorf("got %s, %v, want nginx's own 404", response.Status, response.Header)
		}
	})
}

// startLoggingNginx starts an nginx that has a page /there and no other. It logs to dir/access.log, in its own format "combined"
// or in this one.
func startLoggingNginx(t *testing.T, dir, address, format string) {
	t.Helper()
	name := "combined"
	if format != "" {
		name, format = "own", "log_format own "+format+";"
	}
	config := write(t, "nginx.conf", fmt.Sprintf(`
		daemon off; master_process off; pid %[1]s/pid; error_log stderr;
		events {}
		http {
			%[3]s
			access_log %[1]s/access.log %[4]s;
			client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
			server { listen %[2]s; root %[1]s/none; location /there { return 200; } }
		}`, dir, address, format, name))
	start(t, "nginx", "-p", dir, "-c", config).waitListening(t, address)
}

func TestErrorsInNginxsLogBecomeEvents(t *testing.T) {
	address, dir := freeAddress(t), t.TempDir()
	log := filepath.Join(dir, "access.log")
	startLoggingNginx(t, dir, address, "")
	visit := func(path, agent string) {
		r := request(t, "http://"+address+path, "*/*", "")
		r.Header.Set("User-Agent", agent)
		do(t, r)
	}
	visit("/before", "curl")
	ssetest.Wait(t, "nginx to write its log", func() bool { text, _ := os.ReadFile(log); return len(text) > 0 })
	s := open(t, serve(t, "nginx-log", "LOG="+log))
	s.WaitEvents(1)
	visit("/there", "curl")
	visit("/wp-login.php?x=%22", `a "bad" <b>agent</b>`)
	e := s.WaitEvents(2)[1]
	var entry struct{ Time, From, Request, Agent string }
	if err := json.Unmarshal([]byte(e.Data), &entry); err != nil || e.Type != "status-404" {
		t.Fatalf("event is %+v: %v", e, err)
	}
	if entry.From != "127.0.0.1" || entry.Request != "GET /wp-login.php?x=%22 HTTP/1.1" || entry.Agent != `a \x22bad\x22 <b>agent</b>` || entry.Time == "" {
		t.Errorf("the entry is %+v", entry)
	}
	checkIDs(t, s)
}

// do makes a request whose answer does not matter.
func do(t *testing.T, r *http.Request) {
	t.Helper()
	response, err := ssetest.Client(t, "h1").Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
}

func request(t *testing.T, url, accept, lastEventID string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	if lastEventID != "" {
		r.Header.Set("Last-Event-ID", lastEventID)
	}
	return r
}

func TestEventsPassAnNginxInFrontThatKnowsNothingOfThem(t *testing.T) {
	records := make(chan string)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.(http.Flusher).Flush()
		for {
			select {
			case record := <-records:
				fmt.Fprintln(w, record)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}))
	t.Cleanup(service.Close)
	address := freeAddress(t)
	caddy := startCommand(t, caddyCommand(t, "run", "--config", write(t, "Caddyfile", fmt.Sprintf(
		"{\nadmin off\npersist_config off\n}\nhttp://%s {\nsse\nreverse_proxy %s\n}\n", address, service.Listener.Addr()))))
	caddy.waitListening(t, address)

	front, dir := freeAddress(t), t.TempDir()
	config := write(t, "nginx.conf", fmt.Sprintf(`
		daemon off; master_process off; pid %[1]s/pid; error_log stderr;
		events {}
		http {
			access_log off;
			client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
			server {
				listen %[2]s;
				location / { proxy_pass http://%[3]s; }
			}
		}`, dir, front, address))
	start(t, "nginx", "-p", dir, "-c", config).waitListening(t, front)

	s := open(t, "http://"+front+"/")
	s.WaitComments(1) // before there is any record
	for n := 1; n <= 3; n++ {
		records <- fmt.Sprintf(`{"n":%d}`, n)
		if e := s.WaitEvents(n)[n-1]; e.Data != fmt.Sprintf(`{"n":%d}`, n) {
			t.Errorf("event %d is %+v", n, e)
		}
	}
}
