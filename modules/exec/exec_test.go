//go:build unix

package exec

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/backend/backendtest"
	"github.com/seed-4dedbcea/caddy-sse/internal/upstreamtest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestExecArgumentsReachTheCommandUnchanged(t *testing.T) {
	const hostile = "$(id) `id` ; id | id && id > x < y 'a' \"b\" \\ * ? ~ ! # {env.PATH} {last_id} %s \n -rf --"
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, `exec /usr/bin/printf [%s] {query.x} a{query.x}b "" plain {last_id}`, "x="+escapeQuery(hostile)), "$(id)")
	if err := r.Wait(t); err != nil {
		t.Fatal(err)
	}
	if got, want := r.Text(), "["+hostile+"][a"+hostile+"b][][plain][$(id)]"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func escapeQuery(s string) string { return url.QueryEscape(s) }

func TestExecEnvironmentHasNoSecrets(t *testing.T) {
	t.Setenv("SSE_TEST_SECRET", "hidden")
	t.Setenv("LC_TIME", "C")
	t.Setenv("TZ", "UTC")
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "exec env {\n env ADDED {query.x}\n env TZ CET\n}", "x=a%20b"), "")
	if err := r.Wait(t); err != nil {
		t.Fatal(err)
	}
	var names []string
	lines := strings.Split(strings.TrimSpace(r.Text()), "\n")
	for _, line := range lines {
		name, _, _ := strings.Cut(line, "=")
		names = append(names, name)
		if !slices.Contains([]string{"PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "ADDED"}, name) && !strings.HasPrefix(name, "LC_") {
			t.Errorf("the command sees %s", line)
		}
	}
	for _, want := range []string{"ADDED=a b", "TZ=CET", "LC_TIME=C", "PATH=" + os.Getenv("PATH")} {
		if !slices.Contains(lines, want) {
			t.Errorf("no %s in %q", want, lines)
		}
	}
	if slices.Sort(names); len(slices.Compact(names)) != len(lines) {
		t.Errorf("a variable is there twice: %q", lines)
	}
}

func TestExecDir(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "exec pwd {\n dir "+dir+"\n}", ""), "")
	if err := r.Wait(t); err != nil || r.Text() != dir+"\n" {
		t.Errorf("got %q, %v", r.Text(), err)
	}
}

func TestExecThatCannotStartIsABadGateway(t *testing.T) {
	for _, text := range []string{"exec /nowhere/nothing", "exec no-such-command-anywhere", "exec true {\n dir /nowhere\n}", "exec /etc/passwd"} {
		r := upstreamtest.Run(t, upstreamtest.Upstream(t, text, ""), "")
		if err := r.Wait(t); upstreamtest.Status(err) != 502 || len(r.Types()) > 0 {
			t.Errorf("%s: got %v, opened %d times", text, err, len(r.Types()))
		}
	}
}

func TestExecExitStatus(t *testing.T) {
	for text, want := range map[string]string{
		"exec true":                             "",
		"exec sh -c `echo last; exit 3`":        "exit status 3",
		"exec sh -c `echo last; kill -SEGV $$`": "signal: segmentation fault",
		"exec sh -c `exec >&- 2>&-; sleep 0.1`": "",
	} {
		r := upstreamtest.Run(t, upstreamtest.Upstream(t, text, ""), "")
		err := r.Wait(t)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
		if want != "" && r.Text() != "last\n" {
			t.Errorf("%s: said %q", text, r.Text())
		}
	}
}

// isAlive reports whether a process runs. A zombie does not.
func isAlive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	after := stat[strings.LastIndexByte(string(stat), ')')+1:]
	return !strings.HasPrefix(string(after), " Z")
}

// pids waits for the process ids that a command prints, one a line.
func pids(t *testing.T, r *upstreamtest.Running, n int) []int {
	t.Helper()
	upstreamtest.Eventually(t, func() bool { return strings.Count(r.Text(), "\n") >= n }, r.Text)
	var pids []int
	for _, line := range strings.Fields(r.Text()) {
		pid, err := strconv.Atoi(line)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

func TestExecEndsWithAllItHasStarted(t *testing.T) {
	for name, text := range map[string]string{
		"children and grandchildren": "exec sh -c `echo $$; sleep 1000 & echo $!; sh -c 'sleep 1000 & echo $!; wait' & wait`",
		"ignores SIGTERM":            "exec sh -c `trap '' TERM; echo $$; sleep 1000 & echo $!; while :; do sleep 1; done` {\n stop_timeout 100ms\n}",
		"on a terminal":              "exec sh -c `echo $$; sleep 1000 & echo $!; wait` {\n pty\n}",
	} {
		t.Run(name, func(t *testing.T) {
			r := upstreamtest.Run(t, upstreamtest.Upstream(t, text, ""), "")
			pids := pids(t, r, 2)
			r.Stop()
			r.Wait(t)
			for _, pid := range pids {
				if isAlive(pid) {
					t.Errorf("process %d is alive", pid)
				}
			}
		})
	}
}

func TestExecIsAskedToEndBeforeItIsKilled(t *testing.T) {
	file := filepath.Join(t.TempDir(), "said")
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "exec sh -c `trap 'echo bye >$0; exit' TERM; echo $$; while :; do sleep 0.01; done` "+file, ""), "")
	pids(t, r, 1)
	r.Stop()
	r.Wait(t)
	if said, _ := os.ReadFile(file); string(said) != "bye\n" {
		t.Errorf("said %q", said)
	}
}

// A server that exits waits for its streams no longer than its grace period.
func TestExecNoCommandOutlivesTheServer(t *testing.T) {
	u := upstreamtest.Upstream(t, "exec sh -c `trap '' TERM; echo $$; (trap '' TERM; while :; do sleep 1; done) & echo $!; while :; do sleep 1; done` {\n stop_timeout 100ms\n}", "")
	pids := append(pids(t, upstreamtest.Run(t, u, ""), 2), pids(t, upstreamtest.Run(t, u, ""), 2)...)
	processes.endAll()
	for _, pid := range pids {
		if isAlive(pid) {
			t.Errorf("process %d is alive", pid)
		}
	}
}

func TestExecEndsWhatACommandLeavesBehind(t *testing.T) {
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "exec sh -c `sleep 1000 & echo $!`", ""), "")
	if err := r.Wait(t); err != nil {
		t.Fatal(err)
	}
	if pid := pids(t, r, 1)[0]; isAlive(pid) {
		t.Errorf("process %d is alive", pid)
	}
}

func TestExecDoesNotWaitForWhoeverElseHoldsItsOutput(t *testing.T) {
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Fatal("the test needs setsid, of util-linux")
	}
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "exec sh -c `setsid sleep 1000 & echo $!; sleep 0.1`", ""), "")
	if err := r.Wait(t); err != nil {
		t.Fatal(err)
	}
	pid := pids(t, r, 1)[0]
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

func TestExecOutputBeforeTheEndIsNotLostOnASlowClient(t *testing.T) {
	u := upstreamtest.Upstream(t, "exec sh -c `head -c 200000 /dev/zero; head -c 50000 /dev/zero`", "")
	sink := &slowSink{}
	if err := u.Stream(context.Background(), "", sink); err != nil {
		t.Fatal(err)
	}
	if sink.n != 250000 {
		t.Errorf("got %d bytes", sink.n)
	}
}

// slowSink is a sink that takes its time.
type slowSink struct{ n int }

func (s *slowSink) Open(string) (backend.Input, error) { return &slowInput{sink: s}, nil }

type slowInput struct {
	backend.Input
	sink *slowSink
}

func (in *slowInput) Write(p []byte) (int, error) {
	time.Sleep(20 * time.Millisecond)
	in.sink.n += len(p)
	return len(p), nil
}

func TestExecEndsWhenNobodyWantsMore(t *testing.T) {
	u := upstreamtest.Upstream(t, "exec yes", "")
	enough := errors.New("enough")
	if err := u.Stream(context.Background(), "", &backendtest.Tape{WriteErr: enough}); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}

func TestExecStderrAsRecords(t *testing.T) {
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "exec sh -c `printf out; printf err >&2` {\n stderr records\n}", ""), "")
	if err := r.Wait(t); err != nil {
		t.Fatal(err)
	}
	if got := r.Texts(); !slices.Equal(got, []string{"out", "err"}) {
		t.Errorf("got %q", got)
	}
}

func TestExecStderrFloodDoesNotFillTheLog(t *testing.T) {
	for _, pty := range []string{"", "pty"} {
		core, logs := observer.New(zap.InfoLevel)
		b := upstreamtest.Backend(t, "exec sh -c `head -c 100000 /dev/zero | tr '\\0' x >&2; echo >&2; yes 2>&1 | head -n 100000 >&2; echo out` {\n "+pty+"\n}").(*Backend)
		b.logger = zap.New(core)
		u, err := b.Bind(upstreamtest.Request("/"))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		r := upstreamtest.Run(t, u, "")
		if err := r.Wait(t); err != nil || r.Text() != "out\n" {
			t.Fatalf("got %q, %v", r.Text(), err)
		}
		entries := logs.All()
		if most := 2 * stderrLines * (2 + int(time.Since(began)/time.Second)); len(entries) == 0 || len(entries) > most {
			t.Fatalf("%d lines were logged", len(entries))
		}
		if line := entries[0].ContextMap()["line"].(string); line != strings.Repeat("x", maxLogLine) {
			t.Errorf("a line of %d bytes was logged: %q…", len(line), line[:10])
		}
	}
}

func TestExecOnATerminalIsHeardLineByLine(t *testing.T) {
	// In a pipe, grep holds back its output until it has some kilobytes or its input ends.
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Write([]byte("a\tb\n")); err != nil {
		t.Fatal(err)
	}
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "exec grep a "+fifo+" {\n pty\n}", ""), "")
	r.Hears(t, "a\tb\n")
	r.Stop()
	r.Wait(t)

	r = upstreamtest.Run(t, upstreamtest.Upstream(t, "exec sh -c `echo $TERM; test -t 1 && seq 20000` {\n pty\n}", ""), "")
	if err := r.Wait(t); err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	want.WriteString("dumb\n")
	for i := range 20000 {
		fmt.Fprintln(&want, i+1)
	}
	if got := r.Text(); got != want.String() {
		t.Errorf("got %d bytes, want %d", len(got), want.Len())
	}
}

func TestExecLeavesNothingBehind(t *testing.T) {
	runs := 25
	if os.Getenv("SSE_SOAK") == "1" {
		runs = 250
	}
	for _, options := range []string{"", "pty"} {
		u := upstreamtest.Upstream(t, "exec sh -c `sleep 1000 & echo $$; echo $!; wait` {\n "+options+"\n}", "")
		upstreamtest.LeavesNothing(t, func() {
			for range runs {
				r := upstreamtest.Run(t, u, "")
				pids := pids(t, r, 2)
				r.Stop()
				r.Wait(t)
				for _, pid := range pids {
					if isAlive(pid) {
						t.Fatalf("process %d is alive", pid)
					}
				}
			}
		})
	}
}

// The kernel takes the end of the thread that started a command for the end of the server.
func TestExecOutlivesTheThreadThatStartedIt(t *testing.T) {
	var all []*upstreamtest.Running
	for range 20 {
		all = append(all, upstreamtest.Run(t, upstreamtest.Upstream(t, "exec sh -c `echo $$; exec sleep 1000`", ""), ""))
	}
	for _, r := range all {
		pids(t, r, 1)
	}
	for range 100 {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			runtime.LockOSThread() // and never unlocked: the thread ends
		}()
		<-ended
	}
	for _, r := range all {
		if pid := pids(t, r, 1)[0]; !isAlive(pid) {
			t.Errorf("process %d was killed", pid)
		}
	}
}

func TestExecHugeLineTakesLittleMemory(t *testing.T) {
	upstreamtest.WantLittleMemory(t, upstreamtest.Upstream(t, "exec sh -c `head -c 104857600 /dev/zero; echo; echo next`", ""))
}

func TestExecIsABackend(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		return upstreamtest.Backend(t, `exec sh -c "echo a line; sleep 1000"`)
	})
}
