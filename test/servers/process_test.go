//go:build integration

package servers_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// packages are those of Debian that the programs come from. All that the tests start has to be listed here.
var packages = map[string]string{
	"curl":                     "curl",
	"dump1090-mutability":      "dump1090-mutability",
	"etcd":                     "etcd-server",
	"gpsfake":                  "gpsd-clients",
	"gpsd":                     "gpsd",
	"haproxy":                  "haproxy",
	"initdb":                   "postgresql",
	"kcat":                     "kcat",
	"logger":                   "bsdutils",
	"mosquitto":                "mosquitto",
	"mosquitto_pub":            "mosquitto-clients",
	"mosquitto_sub":            "mosquitto-clients",
	"nginx":                    "nginx",
	"php":                      "php-cli",
	"php-cgi":                  "php-cgi",
	"postgres":                 "postgresql",
	"prometheus":               "prometheus",
	"promtool":                 "prometheus",
	"psql":                     "postgresql-client",
	"python3":                  "python3",
	"redis-cli":                "redis-tools",
	"redis-server":             "redis-server",
	"rsyslogd":                 "rsyslog",
	"sh":                       "dash",
	"systemd-journal-gatewayd": "systemd-journal-remote",
	"systemd-journal-remote":   "systemd-journal-remote",
	"systemd-socket-activate":  "systemd",
	"tail":                     "coreutils",
	"vmstat":                   "procps",
}

// program finds a program, also where Debian has those that are not meant for a shell.
func program(t *testing.T, name string) string {
	t.Helper()
	candidates := []string{name, "/usr/sbin/" + name, "/usr/lib/systemd/" + name, "/lib/systemd/" + name}
	versions, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	for _, candidate := range append(candidates, versions...) {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	t.Fatalf("%s is not installed: apt-get install --no-install-recommends %s", name, packages[name])
	return ""
}

// process is a program that runs until the test ends, unless it ends before.
type process struct {
	cmd    *exec.Cmd
	output output // both of its outputs
	exited chan struct{}
	err    error // how it ended, when exited is closed
}

// start runs a program, with all that it starts in a process group of its own.
func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	return startCommand(t, exec.Command(program(t, name), args...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", cmd, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", cmd, p.output.String())
		}
	})
	return p
}

// stop ends the program and what it has started, and returns when it has ended.
func (p *process) stop() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(ssetest.Patience):
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.exited
}

// waitExit returns the exit code of a program that ends by itself.
func (p *process) waitExit(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(ssetest.Patience):
		t.Fatalf("%s has not ended within %s", p.cmd, ssetest.Patience)
	}
	var exit *exec.ExitError
	if p.err != nil && !errors.As(p.err, &exit) {
		t.Fatalf("%s: %v", p.cmd, p.err)
	}
	return p.cmd.ProcessState.ExitCode()
}

// output is what a program has said so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// run runs a program that ends by itself at once, and returns what it says.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	said, err := exec.Command(program(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, said)
	}
	return string(said)
}

// freeAddress is one of 127.0.0.1 that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", ssetest.FreePort(t))
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// waitListening waits until the program accepts connections.
func (p *process) waitListening(t *testing.T, address string) {
	t.Helper()
	ssetest.Wait(t, p.cmd.Path+" to listen on "+address, func() bool {
		select {
		case <-p.exited:
			t.Fatalf("%s has ended: %v", p.cmd, p.err)
		default:
		}
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

// write makes a file in a folder of the test.
func write(t *testing.T, name, content string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func appendTo(t *testing.T, path, content string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.WriteString(content)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// caddyBinary is what this repository's cmd/caddy becomes, built once for all tests.
var caddyBinary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "caddy-sse")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		caddyBinary = filepath.Join(dir, "caddy")
		if said, err := exec.Command("go", "build", "-o", caddyBinary, "../../cmd/caddy").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building caddy: %v\n%s", err, said)
			return 1
		}
		return m.Run()
	}())
}

// caddyCommand is a Caddy that knows nothing of others on this machine.
func caddyCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(caddyBinary, args...)
	dir := t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir,
		"CADDY_ADMIN=unix/"+filepath.Join(dir, "admin.sock"))
	return cmd
}

// serve runs Caddy with an example's config, whose variables have these values, and returns the URL of its site.
func serve(t *testing.T, example string, env ...string) string {
	t.Helper()
	return serveConfig(t, "../../examples/"+example+"/Caddyfile", env...)
}

// serveOptions runs Caddy with an sse that has these options, and returns its URL.
func serveOptions(t *testing.T, options string) string {
	t.Helper()
	return serveConfig(t, write(t, "Caddyfile", "http://localhost{$SSE_LISTEN} {\n\tbind 127.0.0.1\n\tsse {\n"+options+"\n\t}\n}\n"))
}

func serveConfig(t *testing.T, config string, env ...string) string {
	t.Helper()
	address := freeAddress(t)
	cmd := caddyCommand(t, "run", "--config", config)
	cmd.Env = append(append(cmd.Env, "SSE_LISTEN=:"+portOf(address)), env...)
	caddy := startCommand(t, cmd)
	caddy.waitListening(t, address)
	t.Cleanup(func() {
		caddy.stop()
		if caddy.err != nil {
			t.Errorf("caddy ended with %v", caddy.err)
		}
	})
	return "http://localhost:" + portOf(address)
}

// open opens a stream as a browser would.
func open(t *testing.T, url string, options ...func(*http.Request)) *ssetest.Stream {
	t.Helper()
	s := ssetest.Get(t, ssetest.Client(t, "h1"), url, options...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s said: %s", url, s)
		}
	})
	if contentType := s.Header.Get("Content-Type"); s.Status != 200 || contentType != "text/event-stream" {
		t.Fatalf("%s answered %d, %q, not with an event stream", url, s.Status, contentType)
	}
	return s
}

// await returns the first event that matches.
func await(t *testing.T, s *ssetest.Stream, what string, matches func(ssetest.Event) bool) ssetest.Event {
	t.Helper()
	var found ssetest.Event
	ssetest.Wait(t, what, func() bool {
		events := s.Events()
		i := slices.IndexFunc(events, matches)
		if i >= 0 {
			found = events[i]
		}
		return i >= 0
	})
	return found
}

// saying is whether an event's data has that text in it.
func saying(text string) func(ssetest.Event) bool {
	return func(e ssetest.Event) bool { return strings.Contains(e.Data, text) }
}

// data is that of all events that have come so far.
func data(s *ssetest.Stream) []string {
	var all []string
	for _, e := range s.Events() {
		all = append(all, e.Data)
	}
	return all
}

// checkIDs checks that each event has an id of its own.
func checkIDs(t *testing.T, s *ssetest.Stream) {
	t.Helper()
	seen := make(map[string]bool)
	for _, e := range s.Events() {
		if !e.HasID || e.ID == "" || seen[e.ID] {
			t.Errorf("event %+v has no id of its own", e)
		}
		seen[e.ID] = true
	}
}

// send writes to a socket, as a sender of one message does.
func send(t *testing.T, network, address, text string) {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err == nil {
		_, err = io.WriteString(conn, text)
		err = errors.Join(err, conn.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}
