package sse_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestHEADJoinsNoAnswer(t *testing.T) {
	for _, name := range modelKinds {
		t.Run(name, func(t *testing.T) {
			ssetest.NoLeaks(t)
			t.Cleanup(share.CloseAll)
			m := newModel(t)
			server := ssetest.Start(t, strings.Replace(modelSite(t, m, name, "", "linger 0"), "open POST", "open POST GET", 1))
			for _, protocol := range ssetest.Protocols {
				client := ssetest.Client(t, protocol)
				head := func() {
					t.Helper()
					s := ssetest.Get(t, client, server.URL(protocol, "/?lastEventId=x"), method("HEAD", ""))
					if s.Status != http.StatusOK || s.Header.Get("Content-Type") != "text/event-stream" || wholeBody(t, s) != "" {
						t.Errorf("HEAD: %v, header %v", s, s.Header)
					}
				}
				head()
				if n := len(m.joined()); n > 0 {
					t.Fatalf("HEAD has opened %d upstreams", n)
				}
				s := ssetest.Get(t, ssetest.Client(t, protocol), server.URL(protocol, "/"))
				m.wait(t, 1)
				head()
				// One connection serves one request at a time on HTTP/1.
				head()
				if n := len(stream.All()); n != 1 {
					t.Errorf("%s: %d streams, want 1", protocol, n)
				}
				s.Close()
				m.wait(t, 0)
				m.mu.Lock()
				m.joins = nil
				m.mu.Unlock()
			}
		})
	}
}

// The server would read the body before it sends the headers, and hold up whatever delivers to the client.
func TestAStreamOpensBeforeTheBodyOfItsRequestHasCome(t *testing.T) {
	u := newHub(t)
	server := startSharing(t, site("share {\nlinger 0\n}", "reverse_proxy "+ssetest.Upstream(t, u.ServeHTTP)))
	c := ssetest.Send(t, "tcp", server.Addr("http"), "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nContent-Length: 10\r\n\r\n")
	_ = c.SetReadDeadline(time.Now().Add(ssetest.Patience))
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := response.Body.Read(make([]byte, 1)); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("%d, %v", response.StatusCode, err)
	}
	u.wait(t, 1) // or the connection to the upstream, once it is there, has nobody to close it
}

func TestAStopDoesNotWaitForAQuestionThatIsSentSlowly(t *testing.T) {
	dir := t.TempDir()
	port, tlsPort := ssetest.FreePort(t), ssetest.FreePort(t)
	cert, key := ssetest.Cert(t)
	config := filepath.Join(dir, "Caddyfile")
	const body = "bind 127.0.0.1\nsse {\nshare {path} {\nopen POST\n}\n}\nreverse_proxy 127.0.0.1:1\n"
	text := fmt.Sprintf("{\nadmin off\npersist_config off\nauto_https off\nstorage file_system %s\nservers {\nprotocols h1 h2 h2c h3\n}\n}\n"+
		"http://localhost:%d {\n%s}\nhttps://localhost:%d {\ntls %s %s\n%s}\n", dir, port, body, tlsPort, cert, key, body)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	process := caddyCommand(t, dir, "run", "--config", config)
	var log bytes.Buffer
	process.Stdout, process.Stderr = &log, &log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- process.Wait() }()
	t.Cleanup(func() { _ = process.Process.Kill() })
	url := func(protocol string) string {
		if protocol == "h1" || protocol == "h2c" {
			return fmt.Sprintf("http://localhost:%d/", port)
		}
		return fmt.Sprintf("https://localhost:%d/", tlsPort)
	}
	for _, p := range []int{port, tlsPort} {
		ssetest.Wait(t, "Caddy to answer", func() bool {
			connection, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p))
			if err == nil {
				_ = connection.Close()
			}
			return err == nil
		})
	}
	statuses := make(chan string, len(ssetest.Protocols))
	for _, protocol := range ssetest.Protocols {
		body, question := io.Pipe()
		defer question.Close()
		r, _ := http.NewRequest(http.MethodPost, url(protocol)+protocol, body)
		client := ssetest.Client(t, protocol)
		go func() {
			response, err := client.Do(r)
			if err != nil {
				statuses <- protocol + ": " + err.Error()
				return
			}
			_ = response.Body.Close()
			statuses <- fmt.Sprintf("%s: %d", protocol, response.StatusCode)
		}()
		if _, err := io.WriteString(question, "What"); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(100 * time.Millisecond) // nothing tells from outside that the server has begun to read
	if err := process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for range ssetest.Protocols {
		select {
		case status := <-statuses:
			t.Log(status)
		case <-time.After(ssetest.Patience):
			t.Fatal("a client waits for ever")
		}
	}
	select {
	case err := <-exited:
		if err != nil {
			t.Errorf("the process exited with %v\n%s", err, &log)
		}
	case <-time.After(ssetest.Patience):
		t.Fatal("the process has not exited")
	}
}

func TestQuestionsAreNotKeptWithTheirAnswers(t *testing.T) {
	const size, questions = 8 << 20, 16
	m := newHub(t)
	ssetest.NoLeaks(t)
	t.Cleanup(share.CloseAll)
	next := nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		m.ServeHTTP(w, r)
	})
	server := ssetest.Start(t, site("end over\nshare {path} {\nopen POST\nkeep 1h\n}", next))
	heap := func() int64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	question := strings.Repeat("x", size)
	before := heap()
	var answers []*ssetest.Stream
	for n := range questions {
		answers = append(answers, get(t, server, fmt.Sprint("/", n), method("POST", question)))
		m.wait(t, n+1)
	}
	const half = questions * size / 2
	ssetest.Wait(t, "the questions to be freed", func() bool { return heap()-before < half })
	m.end(nil)
	for _, s := range answers {
		_ = wholeBody(t, s)
	}
	if n := len(share.List()); n != questions {
		t.Errorf("%d answers are kept, want %d", n, questions)
	}
}
