package exec_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddyserver/caddy/v2"

	_ "github.com/seed-4dedbcea/caddy-sse"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
	"github.com/seed-4dedbcea/caddy-sse/internal/upstreamtest"
	"github.com/seed-4dedbcea/caddy-sse/modules/exec"
)

// serverProcess is this test's binary run once more: a Caddy that can be ended by a signal, and that may have a limit of
// processes and threads. Such a limit does not bind root.
type serverProcess struct {
	url   string
	limit int
	dir   string
	cmd   *osexec.Cmd
	stdin io.WriteCloser // of which each line is a config to load; with its end, the server ends
	ready chan struct{}  // a config has been loaded
	said  *lockedBuffer
	ended func() error
}

const serverProcessEnv = "SSE_TEST_SERVER_PROCESS"

type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// startServerProcess starts a server with a limit of processes and threads, or none if limit is 0.
func startServerProcess(t *testing.T, limit int, directives string) *serverProcess {
	t.Helper()
	s := &serverProcess{limit: limit, dir: t.TempDir(), said: new(lockedBuffer), ready: make(chan struct{})}
	uid := os.Getuid()
	switch {
	case limit == 0:
	case uid == 0:
		uid = 54321
	default: // somebody who has other processes, which count
		tasks, _ := filepath.Glob("/proc/[0-9]*/task/*")
		s.limit += len(tasks)
	}
	address := fmt.Sprintf("127.0.0.1:%d", ssetest.FreePort(t))
	s.url = "http://" + address
	s.cmd = osexec.Command(os.Args[0], "-test.run=^TestServerProcess$")
	s.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d", serverProcessEnv, uid, s.limit), "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
	s.cmd.Stderr = s.said
	var err error
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if lines.Text() == "ready" {
				s.ready <- struct{}{}
			}
		}
	}()
	s.ended = sync.OnceValue(func() error {
		s.stdin.Close()
		<-done
		return s.cmd.Wait()
	})
	t.Cleanup(func() {
		if err := s.ended(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
		if t.Failed() {
			text := s.said.String()
			t.Logf("the server said:\n%s", text[:min(len(text), 5000)])
		}
	})
	s.load(t, "http://"+address+" {\n"+directives+"\n}\n")
	return s
}

func (s *serverProcess) load(t *testing.T, caddyfile string) {
	t.Helper()
	config, err := ssetest.Adapt("{\n admin off\n persist_config off\n storage file_system " + s.dir + "\n}\n" + caddyfile)
	if err == nil {
		_, err = io.WriteString(s.stdin, config+"\n")
	}
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.ready:
	case <-time.After(time.Minute):
		t.Fatalf("the server does not load its config: %s", s.said)
	}
}

func TestServerProcess(t *testing.T) {
	given := os.Getenv(serverProcessEnv)
	if given == "" {
		return // it is for startServerProcess
	}
	var uid int
	var limit uint64
	fmt.Sscan(given, &uid, &limit)
	if limit > 0 {
		if err := unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			t.Fatal(err)
		}
		if err := unix.Setuid(uid); err != nil {
			t.Fatal(err)
		}
	}
	caddy.TrapSignals()
	configs := bufio.NewScanner(os.Stdin)
	for configs.Buffer(nil, 1<<20); configs.Scan(); {
		if err := caddy.Load(configs.Bytes(), true); err != nil {
			t.Fatal(err)
		}
		fmt.Println("ready")
	}
	exec.EndAll()
	_ = caddy.Stop()
}

// open returns the first line of a stream's first event, or the status of a response that is no stream.
func (s *serverProcess) open(ctx context.Context, path string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return response.Status, nil
	}
	context.AfterFunc(ctx, func() { response.Body.Close() })
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			return data, nil
		}
	}
	return "", errors.Join(lines.Err(), io.ErrUnexpectedEOF)
}

func (s *serverProcess) wantOthersServed(t *testing.T) {
	t.Helper()
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if got, err := s.open(ctx, "/other"); err != nil || got != "204 No Content" {
				t.Errorf("another site of the server: %q, %v", got, err)
			}
		})
	}
	wg.Wait()
}

func TestExecAtTheProcessLimitIsRefusedAndTheServerLives(t *testing.T) {
	s := startServerProcess(t, 200, "route /exec {\n sse {\n backend exec sh -c `echo up; exec sleep 1000`\n}\n}\nrespond /other 204")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var mu sync.Mutex
	got := make(map[string]int)
	var wg sync.WaitGroup
	for range s.limit + 50 {
		wg.Go(func() {
			answer, err := s.open(ctx, "/exec")
			if err != nil {
				answer = err.Error()
			}
			mu.Lock()
			got[answer]++
			mu.Unlock()
		})
	}
	wg.Wait()
	up, refused := got["up"], got["503 Service Unavailable"]
	if up < 10 || refused == 0 || up+refused != s.limit+50 {
		t.Errorf("got %v", got)
	}
	s.wantOthersServed(t)
	logged := func() int { return strings.Count(s.said.String(), "commands are refused") }
	upstreamtest.Eventually(t, func() bool { return logged() > 0 }, func() string { return "the log does not say that there is no room" })
	if n := logged(); n != 1 {
		t.Errorf("the log says %d times that there is no room", n)
	}

	// Clients that have left make room for others.
	cancel()
	ctx, cancel = context.WithCancel(context.Background())
	defer cancel()
	upstreamtest.Eventually(t, func() bool {
		answer, err := s.open(ctx, "/exec")
		return err == nil && answer == "up"
	}, func() string { return "there is no room for a command after the others have ended" })
}

func TestExecCommandThatForksWithoutEndLeavesTheServerItsThreads(t *testing.T) {
	s := startServerProcess(t, 200, "route /exec {\n sse {\n backend exec sh -c `trap 'echo full; wait' EXIT; i=0; while [ $i -lt 1000 ]; do sleep 1000 & i=$((i+1)); done`\n}\n}\nrespond /other 204")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if got, err := s.open(ctx, "/exec"); err != nil || got != "full" {
		t.Errorf("got %q, %v", got, err)
	}
	s.wantOthersServed(t)
}

func TestExecNoCommandOutlivesAServerWhoseConfigHasNoMoreCommands(t *testing.T) {
	s := startServerProcess(t, 0, "route /exec {\n sse {\n backend exec sh -c `trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & echo $!; wait` {\n stop_timeout 100ms\n}\n share {\n linger 1h\n}\n}\n}")
	ctx, cancel := context.WithCancel(context.Background())
	said, err := s.open(ctx, "/exec")
	cancel()
	pid, _ := strconv.Atoi(said)
	if err != nil || !exec.IsAlive(pid) {
		t.Fatalf("got %q, %v", said, err)
	}
	s.load(t, "") // without any route
	if !exec.IsAlive(pid) {
		t.Fatal("the command has ended with its route, though it was to linger")
	}
	if err := s.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.ended(); err != nil {
		t.Error(err)
	}
	if exec.IsAlive(pid) {
		t.Errorf("process %d is alive", pid)
	}
}
