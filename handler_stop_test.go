//go:build unix

package sse

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// Caddy's systemd unit has a process killed 5 s after it was asked to stop. The test allows for a slow machine: without
// defaults for that, the drain and then the command's stop_timeout take nearly 10 s.
func TestAStopWithDefaultsEndsBeforeSystemdKills(t *testing.T) {
	dir := t.TempDir()
	caddyPath := filepath.Join(dir, "caddy")
	if output, err := exec.Command("go", "build", "-o", caddyPath, "./cmd/caddy").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, output)
	}
	address := fmt.Sprintf("127.0.0.1:%d", ssetest.FreePort(t))
	config := filepath.Join(dir, "Caddyfile")
	text := "{\nadmin off\npersist_config off\nstorage file_system " + dir + "\n}\nhttp://" + address + " {\nsse {\n" +
		"backend exec sh -c `trap \"\" TERM; while :; do echo 1; sleep 0.1; done`\n}\n}"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	process := exec.Command(caddyPath, "run", "--config", config)
	process.Dir = dir
	process.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
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
