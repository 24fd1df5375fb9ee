//go:build unix

package sse

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
	"github.com/seed-4dedbcea/caddy-sse/modules/exec"
)

// Caddy's systemd unit has a process killed 5 s after it was asked to stop. The test allows for a slow machine: without
// defaults for that, the drain and then the command's stop_timeout take nearly 10 s.
func TestAStopWithDefaultsEndsBeforeSystemdKills(t *testing.T) {
	const poll = 500 * time.Millisecond // Caddy looks so often whether all is done
	if longest := stopDrain + exec.ExitTimeout + poll; longest > 4500*time.Millisecond {
		t.Errorf("a stop may take %v", longest)
	}
	dir := t.TempDir()
	address := fmt.Sprintf("127.0.0.1:%d", ssetest.FreePort(t))
	config := filepath.Join(dir, "Caddyfile")
	text := "{\nadmin off\npersist_config off\nstorage file_system " + dir + "\n}\nhttp://" + address + " {\nsse {\n" +
		"backend exec sh -c `trap \"\" TERM; while :; do echo 1; sleep 0.1; done`\n}\n}"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	process := caddyCommand(t, dir, "run", "--config", config)
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- process.Wait() }()
	t.Cleanup(func() { _ = process.Process.Kill() })
	ssetest.Wait(t, "Caddy to answer", func() bool {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			_ = connection.Close()
		}
		return err == nil
	})
	s := ssetest.Get(t, ssetest.Client(t, "h1"), "http://"+address, func(r *http.Request) { r.Method = "POST" })
	s.WaitEvents(1)
	start := time.Now()
	if err := process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-exited:
		if took := time.Since(start); err != nil || took > 8*time.Second {
			t.Errorf("the stop took %v and ended with %v", took, err)
		} else {
			t.Logf("the stop took %v", took)
		}
	case <-time.After(ssetest.Patience):
		t.Error("the process has not exited")
	}
	if err := s.WaitEnd(); err == nil {
		t.Error("the client takes an answer that was cut for a whole one")
	}
}
