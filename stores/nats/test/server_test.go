package nats_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/storestest"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// within is how long something may take that happens soon. It is generous, for machines under load.
const within = 60 * time.Second

// server is a nats-server.
type server struct {
	t       *testing.T
	name    string
	port    string
	config  string // the file
	process *exec.Cmd
}

// freePort returns a port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

// newServer returns a server that does not run yet, with these lines in its config.
func newServer(t *testing.T, name string, lines ...string) *server {
	t.Helper()
	s := &server{t: t, name: name, port: freePort(t), config: filepath.Join(t.TempDir(), "nats.conf")}
	t.Cleanup(func() {
		s.kill()
		if said, err := os.ReadFile(s.log()); t.Failed() && err == nil {
			t.Logf("%s: %s", name, said[max(0, len(said)-4000):])
		}
	})
	s.configure(lines...)
	return s
}

func (s *server) log() string { return filepath.Join(filepath.Dir(s.config), "log") }

// configure writes the config, with these lines in it.
func (s *server) configure(lines ...string) {
	s.t.Helper()
	dir := filepath.Dir(s.config)
	own := []string{
		"listen: 127.0.0.1:" + s.port, "server_name: " + s.name,
		fmt.Sprintf("log_file: %q", s.log()),
		fmt.Sprintf("jetstream { store_dir: %q, max_memory_store: 64MB, max_file_store: 4GB }", dir),
	}
	if err := os.WriteFile(s.config, []byte(strings.Join(append(own, lines...), "\n")), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// startServer returns a server that runs.
func startServer(t *testing.T, lines ...string) *server {
	t.Helper()
	s := newServer(t, "one", lines...)
	s.start()
	return s
}

// startCluster returns three servers that run.
func startCluster(t *testing.T) []*server {
	t.Helper()
	var routes, ports []string
	for range 3 {
		port := freePort(t)
		ports = append(ports, port)
		routes = append(routes, "nats://127.0.0.1:"+port)
	}
	var servers []*server
	for i, port := range ports {
		s := newServer(t, fmt.Sprint("n", i), fmt.Sprintf("cluster { name: c, listen: 127.0.0.1:%s, routes: [%s] }", port, strings.Join(routes, ", ")))
		s.start()
		servers = append(servers, s)
	}
	return servers
}

// start returns once the server answers.
func (s *server) start() {
	s.t.Helper()
	s.process = exec.Command(os.Args[0])
	s.process.Env = append(os.Environ(), runAs+"="+s.config)
	s.process.Stderr = os.Stderr
	s.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	storestest.Eventually(s.t, "nats-server answers", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// kill ends the server at once.
func (s *server) kill() {
	if s.process != nil {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
		s.process = nil
	}
}

func (s *server) signal(signal syscall.Signal) {
	s.t.Helper()
	if err := s.process.Process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
	if signal != syscall.SIGSTOP {
		return
	}
	storestest.Eventually(s.t, "all threads stop", func() bool {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.process.Process.Pid))
		for _, task := range tasks {
			if stat, err := os.ReadFile(task); err == nil && !strings.Contains(string(stat), ") T ") {
				return false
			}
		}
		return true
	})
}

func (s *server) url() string { return "nats://127.0.0.1:" + s.port }

func urls(servers []*server) (all []string) {
	for _, s := range servers {
		all = append(all, s.url())
	}
	return all
}

// admin returns JetStream, as an administrator has it.
func admin(t *testing.T, servers ...*server) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(strings.Join(urls(servers), ","), nats.UserInfo("admin", "secret"), nats.MaxReconnects(-1),
		nats.ReconnectWait(50*time.Millisecond), nats.RetryOnFailedConnect(true), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// leader returns the server that leads the stream.
func leader(t *testing.T, js jetstream.JetStream, servers []*server) (l *server) {
	t.Helper()
	storestest.Eventually(t, "the stream has a leader", func() bool {
		stream, err := js.Stream(t.Context(), "SSE")
		if err != nil || stream.CachedInfo().Cluster == nil {
			return false
		}
		for _, s := range servers {
			if s.name == stream.CachedInfo().Cluster.Leader {
				l = s
			}
		}
		return l != nil
	})
	return l
}
