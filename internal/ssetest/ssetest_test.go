package ssetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"
)

// eventStream sends an opening, the records as events when next says so, and ends by mode: "clean", "abort", or, for any
// other, when the client leaves.
func eventStream(next <-chan string, left chan<- string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, ":ok\nretry: 1500\nid: %s\n\n", r.Header.Get("Last-Event-ID"))
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case record, more := <-next:
				switch {
				case !more:
					return
				case record == "abort":
					panic(http.ErrAbortHandler)
				}
				fmt.Fprintf(w, "event: record\ndata: %s\n\n", record)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				left <- r.Proto
				return
			}
		}
	}
}

func TestStreamOverEveryProtocol(t *testing.T) {
	NoLeaks(t)
	left := make(chan string, 1)
	next := make(chan string)
	upstreams := map[string]string{
		"h1":  Upstream(t, eventStream(next, left)),
		"h2c": "h2c://" + UpstreamH2C(t, eventStream(next, left)),
	}
	records := Records(3)
	server := Start(t, Site(fmt.Sprintf("log\nrespond /hello \"hi {http.request.proto}\"\nreverse_proxy /h1 %s\nreverse_proxy /h2c %s", upstreams["h1"], upstreams["h2c"])))

	protos := map[string]string{"h1": "HTTP/1.1", "h1tls": "HTTP/1.1", "h2c": "HTTP/2.0", "h2": "HTTP/2.0", "h3": "HTTP/3.0"}
	for _, protocol := range Protocols {
		for upstream := range upstreams {
			if protocol == "h3" && upstream == "h2c" {
				continue // reverse_proxy of Caddy 2.11.9 has a data race there when the client leaves
			}
			t.Run(protocol+" from "+upstream, func(t *testing.T) {
				client := Client(t, protocol)
				url := server.URL(protocol, "/"+upstream)

				open := func() *Stream {
					s := Get(t, client, url, LastEventID("41"))
					if s.Status != 200 || s.Proto != protos[protocol] || s.Header.Get("Content-Type") != "text/event-stream" {
						t.Fatalf("status %d, %s, header %v", s.Status, s.Proto, s.Header)
					}
					s.WaitLastEventID("41")
					return s
				}

				s := open()
				for i, record := range records {
					next <- record
					if got, want := s.Next(0), (Event{ID: "41", Type: "record", Data: record}); got != want {
						t.Fatalf("event %d is %+v, want %+v", i, got, want)
					}
				}
				if events := s.WaitEvents(3); len(events) != 3 || !slices.Equal(s.WaitComments(1), []string{"ok"}) {
					t.Errorf("events %v, comments %q", events, s.Comments())
				}
				if state := s.State(); !state.HasRetry || state.Retry.Seconds() != 1.5 || state.Pending() {
					t.Errorf("state %+v: want a retry of 1.5 s, and nothing pending", state)
				}
				if err := s.Err(); err != ErrOpen {
					t.Errorf("Err() = %v while the stream is open", err)
				}
				s.Close()
				if err := s.Err(); err == nil || errors.Is(err, ErrOpen) {
					t.Errorf("Err() = %v after Close, want what cut the stream", err)
				}
				<-left // the upstream has learnt it

				s = open()
				next <- "abort"
				if err := s.WaitEnd(); err == nil {
					t.Error("a truncated response passes for a clean one")
				}
			})
		}
	}

	for _, protocol := range Protocols {
		s := Get(t, Client(t, protocol), server.URL(protocol, "/hello"))
		if err := s.WaitEnd(); err != nil || s.Raw() != "hi "+protos[protocol] {
			t.Errorf("%s: %q, %v: want a clean end", protocol, s.Raw(), err)
		}
	}
	access := server.WaitLog("a request over HTTP/3", func(l Log) bool {
		request, _ := l.Fields["request"].(map[string]any)
		return l.Message == "handled request" && request["proto"] == "HTTP/3.0"
	})
	if access.Level != "info" || access.Logger != "http.log.access" {
		t.Errorf("access log line has level %q, logger %q", access.Level, access.Logger)
	}
	close(next)
}

func TestCleanEndOfAStream(t *testing.T) {
	NoLeaks(t)
	next := make(chan string)
	upstream := Upstream(t, eventStream(next, make(chan string, 9)))
	server := Start(t, Site("reverse_proxy "+upstream))
	var open []*Stream
	for _, protocol := range Protocols {
		open = append(open, Get(t, Client(t, protocol), server.URL(protocol, "/")))
	}
	close(next)
	for _, s := range open {
		if err := s.WaitEnd(); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestReloadChangesTheServerAndStopEndsIt(t *testing.T) {
	NoLeaks(t)
	server := Start(t, Site("respond one"))
	client := Client(t, "h2")
	body := func() string {
		s := Get(t, client, server.URL("h2", "/"))
		_ = s.WaitEnd()
		return s.Raw()
	}
	if got := body(); got != "one" {
		t.Fatalf("got %q", got)
	}
	server.Reload(Site("respond two"))
	// A connection of before may still be answered by the old config until it learns that it is to close.
	Wait(t, "the new config's answer", func() bool { return body() == "two" })
	if err := server.TryReload(Site("nonsense")); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a wrong config: got error %v", err)
	}
	if got := body(); got != "two" {
		t.Fatalf("after a wrong config: got %q", got)
	}
	server.Stop()
	Wait(t, "the server to be gone", func() bool {
		response, err := client.Get(server.URL("h2", "/"))
		if err == nil {
			_ = response.Body.Close()
		}
		return err != nil
	})
	if len(server.Logs()) == 0 {
		t.Error("no logs after Stop")
	}
}

func TestWhoConnectsRightAfterAReloadIsServedByTheNewConfig(t *testing.T) {
	NoLeaks(t)
	server := Start(t, Site("respond first"))
	for n := range 50 {
		want := fmt.Sprint("config ", n)
		server.Reload(Site("respond `" + want + "`"))
		s := Get(t, Client(t, "h1"), server.URL("h1", "/"))
		if err := s.WaitEnd(); err != nil || s.Raw() != want {
			t.Fatalf("got %q, %v, want %q", s.Raw(), err, want)
		}
	}
}

func TestJSONConfigWithAdmin(t *testing.T) {
	NoLeaks(t)
	config, err := Adapt(`http://localhost:8080 {
		respond json
	}`)
	if err != nil {
		t.Fatal(err)
	}
	config = strings.Replace(config, `":8080"`, `":{{port \"http\"}}"`, 1)
	config = strings.ReplaceAll(config, `\"`, `"`)
	server := StartJSON(t, `{"admin": {"listen": "127.0.0.1:{{port "admin"}}"}, `+config[1:])
	s := Get(t, Client(t, "h1"), server.URL("h1", "/"))
	if _ = s.WaitEnd(); s.Raw() != "json" {
		t.Errorf("got %s", s)
	}
	s = Get(t, Client(t, "h1"), "http://"+server.Addr("admin")+"/config/apps/http")
	if _ = s.WaitEnd(); s.Status != 200 || !strings.Contains(s.Raw(), "json") {
		t.Errorf("the admin endpoint says %s", s)
	}
	server.Stop()
	Wait(t, "the admin endpoint to go", func() bool {
		response, err := http.Get("http://" + server.Addr("admin") + "/config/")
		if err == nil {
			_ = response.Body.Close()
		}
		return err != nil
	})
	http.DefaultClient.CloseIdleConnections()
}

func TestPausedClientStallsItsServer(t *testing.T) {
	NoLeaks(t)
	paused, result := make(chan struct{}), make(chan error, 1)
	upstream := Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		rc := http.NewResponseController(w)
		var err error
		for n := 0; n < 2000 && err == nil; n++ { // 200 MB, more than any socket buffers
			if n == 1 {
				<-paused
			}
			_ = rc.SetWriteDeadline(time.Now().Add(time.Second))
			if _, err = io.WriteString(w, "data: "+strings.Repeat("x", 100_000)+"\n\n"); err == nil {
				err = rc.Flush()
			}
		}
		result <- err
	})
	s := Get(t, Client(t, "h1"), "http://"+upstream)
	s.WaitEvents(1)
	s.Pause()
	close(paused)
	if err := <-result; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("writing to a paused client: %v, want a timeout", err)
	}
	s.Resume()
	s.WaitEvents(2)
	if err := s.WaitEnd(); err == nil {
		t.Error("the stream that was dropped ended cleanly")
	}
}

func TestServerKeepsToItsOwnFolder(t *testing.T) {
	server := Start(t, Site("respond hi"))
	_ = Get(t, Client(t, "h3"), server.URL("h3", "/")).WaitEnd()
	for _, l := range server.Logs() {
		if strings.HasPrefix(l.Logger, "pki") {
			t.Errorf("a certificate authority came to life: %v", l.Fields)
		}
	}
	for _, dir := range []string{caddy.AppDataDir(), caddy.AppConfigDir()} {
		if !strings.HasPrefix(dir, server.dir) {
			t.Errorf("Caddy works in %s", dir)
		}
	}
}

func TestLeakIsFound(t *testing.T) {
	before, stop, stopped := goleak.IgnoreCurrent(), make(chan struct{}), make(chan struct{})
	go func() {
		<-stop
		close(stopped)
	}()
	if err := leaks(before, 0); err == nil || !strings.Contains(err.Error(), "TestLeakIsFound") {
		t.Errorf("a goroutine left running: got %v", err)
	}
	close(stop)
	<-stopped
	if err := leaks(before, Patience); err != nil {
		t.Error(err)
	}
}

func TestRecordsAreJSONOnOneLine(t *testing.T) {
	records := Records(1000)
	if !slices.Equal(records[:10], Records(10)) {
		t.Error("the records change from call to call")
	}
	for i, record := range records {
		if !json.Valid([]byte(record)) || strings.ContainsAny(record, "\r\n") {
			t.Fatalf("record %d: %q", i, record)
		}
	}
}
