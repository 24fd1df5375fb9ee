//go:build unix

package sse_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
	"github.com/seed-4dedbcea/caddy-sse/modules/exec"
)

// Caddy's systemd unit has a process killed 5 s after it was asked to stop. Without defaults for that, the drain and then
// the command's stop_timeout take longer.
func TestAStopWithDefaultsEndsBeforeSystemdKills(t *testing.T) {
	const poll = 500 * time.Millisecond // Caddy looks so often whether all is done
	if longest := stream.StopDrain + exec.ExitTimeout + poll; longest > 4500*time.Millisecond {
		t.Errorf("a stop may take %v", longest)
	}
	// On a machine that is busy with other things, a stop takes longer than that: so it is compared with another.
	short, long := startToStop(t, ""), startToStop(t, "drain 5s")
	took := make(map[*stoppable]time.Duration)
	start := time.Now()
	for _, s := range []*stoppable{short, long} {
		if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		select {
		case err := <-short.exited:
			took[short] = time.Since(start)
			if err != nil {
				t.Error(err)
			}
		case err := <-long.exited:
			took[long] = time.Since(start)
			if err != nil {
				t.Error(err)
			}
		case <-time.After(ssetest.Patience):
			t.Fatal("a process has not exited")
		}
	}
	t.Logf("the stop took %v, with drain 5s %v", took[short], took[long])
	if took[long]-took[short] < time.Second {
		t.Errorf("the stop took %v, no less than with drain 5s: %v", took[short], took[long])
	}
	for _, s := range []*stoppable{short, long} {
		if err := s.stream.WaitEnd(); err == nil {
			t.Error("the client takes an answer that was cut for a whole one")
		}
	}
}

// stoppable is a Caddy in a process of its own. A client waits for the answer of a command that does not end by SIGTERM.
type stoppable struct {
	process *osexec.Cmd
	exited  chan error
	stream  *ssetest.Stream
}

func startToStop(t *testing.T, options string) *stoppable {
	t.Helper()
	dir := t.TempDir()
	address := fmt.Sprintf("127.0.0.1:%d", ssetest.FreePort(t))
	config := filepath.Join(dir, "Caddyfile")
	text := "{\nadmin off\npersist_config off\nstorage file_system " + dir + "\n}\nhttp://" + address + " {\nsse {\n" + options + "\n" +
		"backend exec sh -c `trap \"\" TERM; while :; do echo 1; sleep 0.1; done`\n}\n}"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &stoppable{process: caddyCommand(t, dir, "run", "--config", config), exited: make(chan error, 1)}
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.exited <- s.process.Wait() }()
	t.Cleanup(func() { _ = s.process.Process.Kill() })
	ssetest.Wait(t, "Caddy to answer", func() bool {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			_ = connection.Close()
		}
		return err == nil
	})
	s.stream = ssetest.Get(t, ssetest.Client(t, "h1"), "http://"+address, func(r *http.Request) { r.Method = "POST" })
	s.stream.WaitEvents(1)
	return s
}

func TestAStopEndsStreamsAndTheProcess(t *testing.T) {
	dir := t.TempDir()
	const n, drain = 200, 4 * time.Second
	upstream := newScript(ndjson)
	asked := make(chan struct{}, 10)
	silent := ssetest.Upstream(t, func(_ http.ResponseWriter, r *http.Request) { asked <- struct{}{}; <-r.Context().Done() })
	address := ssetest.Upstream(t, upstream.ServeHTTP)
	flooding := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		for r.Context().Err() == nil {
			_, _ = w.Write([]byte(strings.Repeat("x", 10_000) + "\n"))
		}
	})
	port := ssetest.FreePort(t)
	config := filepath.Join(dir, "Caddyfile")
	text := fmt.Sprintf(`{
		admin off
		persist_config off
		storage file_system %s
		servers {
			protocols h1 h2c
		}
	}
	http://localhost:%d {
		bind 127.0.0.1
		sse {
			drain 4s
			on_reload keep
			stall_timeout off
		}
		reverse_proxy /silent %s
		reverse_proxy /flood %s
		reverse_proxy %s
	}`, dir, port, silent, flooding, address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	logFile, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer logFile.Close()
	process := caddyCommand(t, dir, "run", "--config", config)
	process.Stdout, process.Stderr = logFile, logFile
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- process.Wait() }()
	t.Cleanup(func() { _ = process.Process.Kill() })
	url := fmt.Sprintf("http://localhost:%d", port)
	ssetest.Wait(t, "Caddy to answer", func() bool {
		connection, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = connection.Close()
		}
		return err == nil
	})

	refused := make(chan int, 1)
	go func() {
		response, _ := do(t, ssetest.Client(t, "h1"), "GET", url+"/silent", "")
		refused <- response.StatusCode
	}()
	<-asked
	stalled := ssetest.Get(t, ssetest.Client(t, "h1"), url+"/flood")
	stalled.WaitEvents(1)
	stalled.Pause()

	var ends streamEnds
	ends.open(t, []string{"h1", "h2c"}, func(string) string { return url + "/" }, n)
	ends.begin()
	if err := process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ends.check(t, n, drain)
	if status := <-refused; status != http.StatusServiceUnavailable {
		t.Errorf("a client that waits for its upstream's headers gets %d, want 503", status)
	}
	select {
	case err := <-exited:
		if err != nil {
			t.Errorf("the process exited with %v", err)
		}
	case <-time.After(ssetest.Patience):
		t.Error("the process has not exited")
	}
	if log, _ := os.ReadFile(logFile.Name()); strings.Contains(string(log), "panic") || strings.Contains(string(log), "aborting with incomplete response") {
		t.Errorf("log:\n%s", log)
	}
}
