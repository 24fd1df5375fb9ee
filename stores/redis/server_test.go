package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-4dedbcea/caddy-sse/internal/storestest"
	"github.com/seed-4dedbcea/caddy-sse/store"
)

func TestMain(m *testing.M) {
	code := m.Run()
	// For a second, go-redis checks whether a server is back, even after the client is closed.
	for end := time.Now().Add(10 * time.Second); code == 0; {
		err := goleak.Find()
		if err == nil {
			break
		}
		if time.Now().After(end) {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// within is how long tests wait for something that has to happen.
const within = 30 * time.Second

// server is a redis-server of a test.
type server struct {
	t        *testing.T
	port     string
	args     []string
	password string // of the administrator
	process  *exec.Cmd
}

// startServer returns a running server with these options.
func startServer(t *testing.T, args ...string) *server {
	t.Helper()
	s := newServer(t, args...)
	s.start()
	return s
}

// newServer returns a server that is not running yet.
func newServer(t *testing.T, args ...string) *server {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	free.Close()
	args = append([]string{"--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "", "--repl-diskless-sync-delay", "0"}, args...)
	s := &server{t: t, port: port, args: args}
	t.Cleanup(s.kill)
	return s
}

// start starts the server and waits until it answers.
func (s *server) start() {
	s.t.Helper()
	s.process = exec.Command("redis-server", s.args...)
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	storestest.Eventually(s.t, "redis-server answers", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
		if err != nil {
			return false
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(within))
		fmt.Fprint(conn, "PING\r\n")
		answer := make([]byte, 64)
		n, _ := conn.Read(answer) // nothing, if it speaks TLS
		return !strings.Contains(string(answer[:n]), "LOADING")
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
}

func (s *server) url() string { return "redis://127.0.0.1:" + s.port }

// do runs a command, as the administrator.
func (s *server) do(args ...any) any {
	s.t.Helper()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + s.port, Password: s.password})
	defer client.Close()
	answer, err := client.Do(context.Background(), args...).Result()
	if err != nil {
		s.t.Fatalf("%v: %v", args, err)
	}
	return answer
}

// opened is an open store with its reports.
type opened struct {
	store.Store
	reports chan error
}

// open opens a store. change may set options.
func open(t *testing.T, url string, change ...func(*Store)) opened {
	t.Helper()
	module := &Store{URL: url}
	for _, f := range change {
		f(module)
	}
	if err := module.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	o := opened{reports: make(chan error, 1000)}
	var err error
	if o.Store, err = module.Open(func(err error) { o.reports <- err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// await waits for a report of this kind.
func (o opened) await(t *testing.T, what string, right func(error) bool) error {
	t.Helper()
	for end := time.After(within); ; {
		select {
		case err := <-o.reports:
			if right(err) {
				return err
			}
		case <-end:
			t.Fatalf("it is not reported that %s", what)
		}
	}
}

func (o opened) awaitUp(t *testing.T) {
	t.Helper()
	o.await(t, "Redis can be used", func(err error) bool { return err == nil })
}

func (o opened) awaitDown(t *testing.T) {
	t.Helper()
	o.await(t, "Redis is not there", func(err error) bool { return err != nil && !errors.Is(err, store.ErrRefused) })
}

// relay is a proxy whose server can be changed.
type relay struct {
	listener net.Listener
	mu       sync.Mutex
	port     string
	conns    map[net.Conn]bool
}

func newRelay(t *testing.T, port string) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: listener, port: port, conns: make(map[net.Conn]bool)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { r.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		r.lead("")
		wg.Wait()
	})
	return r
}

func (r *relay) url() string { return "redis://" + r.listener.Addr().String() }

// lead closes all connections, and connects new ones to another server.
func (r *relay) lead(port string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.port = port
	for conn := range r.conns {
		conn.Close()
	}
}

func (r *relay) serve(client net.Conn) {
	defer client.Close()
	r.mu.Lock()
	server, err := net.Dial("tcp", "127.0.0.1:"+r.port)
	if err != nil {
		r.mu.Unlock()
		return
	}
	defer server.Close()
	r.conns[client], r.conns[server] = true, true
	r.mu.Unlock()
	go func() {
		_, _ = io.Copy(server, client)
		server.Close()
	}()
	_, _ = io.Copy(client, server)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, client)
	delete(r.conns, server)
}
