//go:build integration

package fleet

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// engine is the servers of a store.
type engine struct {
	store   string // the option of share
	servers []*process
	data    []string // the folder of each
}

var engines = map[string]func(t *testing.T) *engine{
	"redis":   newRedis,
	"nats":    func(t *testing.T) *engine { return newNATS(t, 1) },
	"nats x3": func(t *testing.T) *engine { return newNATS(t, 3) },
}

func newRedis(t *testing.T) *engine {
	t.Helper()
	address := ssetest.FreeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	folder := t.TempDir()
	p := newProcess(t, "redis", address, "redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", folder, "--appendonly", "yes", "--appendfsync", "always", "--save", "")
	p.start()
	return &engine{fmt.Sprintf("store redis redis://%s", address), []*process{p}, []string{folder}}
}

func newNATS(t *testing.T, n int) *engine {
	t.Helper()
	_, program := build(t)
	var clients, routes []string
	for range n {
		clients = append(clients, ssetest.FreeAddress(t))
		routes = append(routes, ssetest.FreeAddress(t))
	}
	e := &engine{store: fmt.Sprintf("store nats nats://%s {\nreplicas %d\n}", strings.Join(clients, " nats://"), n)}
	for i, address := range clients {
		folder, data := t.TempDir(), t.TempDir()
		config := fmt.Sprintf("server_name: n%d\nlisten: %q\njetstream { store_dir: %q }\n", i, address, data)
		if n > 1 {
			config += fmt.Sprintf("cluster { name: fleet, listen: %q, routes: [nats://%s] }\n", routes[i], strings.Join(routes, ", nats://"))
		}
		file := filepath.Join(folder, "nats.conf")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		e.data = append(e.data, data)
		e.servers = append(e.servers, newProcess(t, fmt.Sprintf("nats%d", i), address, program, "-c", file))
	}
	for _, p := range e.servers {
		p.start()
	}
	return e
}

// restore has the servers go on with the data that they had when copies were made.
func (e *engine) restore(t *testing.T, copies []string) {
	t.Helper()
	for i, s := range e.servers {
		s.kill()
		if err := os.RemoveAll(e.data[i]); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(e.data[i], os.DirFS(copies[i])); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range e.servers {
		s.begin()
	}
}

// copy returns folders with copies of the servers' data, which are stopped meanwhile.
func (e *engine) copy(t *testing.T) (copies []string) {
	t.Helper()
	for _, s := range e.servers {
		s.signal(syscall.SIGTERM)
		s.wait()
	}
	for i, s := range e.servers {
		copies = append(copies, t.TempDir())
		if err := os.CopyFS(copies[i], os.DirFS(e.data[i])); err != nil {
			t.Fatal(err)
		}
		s.begin()
	}
	return copies
}

// each runs a test with each engine.
func each(t *testing.T, test func(t *testing.T, e *engine)) {
	for _, name := range []string{"redis", "nats", "nats x3"} {
		t.Run(name, func(t *testing.T) { test(t, engines[name](t)) })
	}
}
