// Package sim is a simulation of the whole system: a real Caddy, upstreams and clients of all kinds, and a checker that knows all
// records that were sent. See README.md.
package sim_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/seed-4dedbcea/caddy-sse"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

var (
	seedFlag     = flag.Uint64("sim.seed", 0, "the plan's seed; 0: by chance")
	durationFlag = flag.Duration("sim.duration", 3*time.Second, "how long it runs")
	clientsFlag  = flag.Int("sim.clients", 50, "how many clients there are")
	pathsFlag    = flag.String("sim.paths", "", "only the routes with these paths, separated by commas; empty: all")
	busyFlag     = flag.Float64("sim.busy", 1, "how busy the upstreams are: 2 is twice as busy as 1")
)

// simulation is one run.
type simulation struct {
	*checker
	plan    plan
	server  *ssetest.Server
	began   time.Time
	staying chan struct{} // closed when clients must not leave any more

	mu      sync.Mutex
	configs [][]*route // the routes of each generation
	loaded  time.Time  // when the last one was loaded
}

// latest returns the running generation, and for how long it has been running.
func (s *simulation) latest() (generation int, since time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.configs) - 1, time.Since(s.loaded)
}

func (s *simulation) config(generation int) []*route {
	s.mu.Lock()
	defer s.mu.Unlock()
	if generation < 0 || generation >= len(s.configs) {
		return nil
	}
	return s.configs[generation]
}

func TestSimulation(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()>>1 + 1
	}
	t.Logf("run again with -sim.seed=%d -sim.duration=%s -sim.clients=%d -sim.busy=%g", seed, *durationFlag, *clientsFlag, *busyFlag)
	ssetest.NoLeaks(t)

	s := &simulation{checker: newChecker(), plan: plan{seed}, began: time.Now(), staying: make(chan struct{})}
	upstreams := &upstreams{plan: s.plan, ledger: s.ledger, busy: *busyFlag, quiet: make(chan struct{})}
	routes := s.plan.routes()
	addresses := upstreams.start(t, t.TempDir(), routes)
	s.configs, s.loaded = [][]*route{routes}, time.Now()
	s.server = ssetest.Start(t, addresses.caddyfile(0, routes))

	ctx, cancel := context.WithCancel(context.Background())
	var living sync.WaitGroup
	defer living.Wait()
	defer cancel()
	paths := paths(routes)
	if slices.Contains(paths, "/fat") {
		paths = append(paths, "/fat", "/fat") // for clients that fall behind
	}
	clients := make([]*client, *clientsFlag)
	for i := range clients {
		clients[i] = s.client(i)
		living.Go(func() { clients[i].live(ctx, paths) })
	}

	s.reload(addresses, *durationFlag)
	close(s.staying)
	close(upstreams.quiet)
	s.settle(clients)
	cancel()
	living.Wait()
	s.tell(t, clients)
}

// paths returns the paths of all routes.
func paths(routes []*route) []string {
	all := make(map[string]bool)
	for _, r := range routes {
		all[r.path] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// reload loads one config after the other for this time, or until the first violation.
func (s *simulation) reload(a addresses, lasts time.Duration) {
	random := s.plan.random("reload")
	over := time.After(lasts)
	for generation := 1; ; generation++ {
		pause := 300*time.Millisecond + time.Duration(random.ExpFloat64()*float64(1500*time.Millisecond))
		select {
		case <-over:
			return
		case <-s.first:
			return
		case <-time.After(pause):
		}
		s.mu.Lock()
		routes := s.plan.next(generation, s.configs[generation-1])
		s.configs, s.loaded = append(s.configs, routes), time.Now().Add(time.Hour)
		s.mu.Unlock()
		s.server.Reload(a.caddyfile(generation, routes))
		s.mu.Lock()
		s.loaded = time.Now()
		s.mu.Unlock()
		s.ledger.loaded(generation)
		s.count("reloads", 1)
	}
}

// settle waits until all clients have received all records.
func (s *simulation) settle(clients []*client) {
	deadline := time.After(silence)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if !slices.ContainsFunc(clients, func(c *client) bool { return !c.settled() }) {
			return
		}
		select {
		case <-s.first:
			return
		case <-deadline:
			state := s.state()
			for _, c := range clients {
				if !c.settled() {
					c.mu.Lock()
					c.report(fmt.Errorf("has not got all there is: reading %t, last %+v of %d\n%s", c.reading, c.follower.last, s.ledger.said(c.follower.last.conn), state))
					c.mu.Unlock()
				}
			}
			return
		case <-tick.C:
		}
	}
}

// state returns all sources and streams from the admin API.
func (s *simulation) state() string {
	var all strings.Builder
	for _, path := range []string{"/sse/sources", "/sse/streams"} {
		response, err := http.Get("http://" + s.server.Addr("admin") + path)
		if err != nil {
			return err.Error()
		}
		_, _ = io.Copy(&all, response.Body)
		_ = response.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
	return all.String()
}

// tell logs the counts, and fails the test if there was a violation.
func (s *simulation) tell(t *testing.T, clients []*client) {
	s.checker.mu.Lock()
	defer s.checker.mu.Unlock()
	var counts []string
	for _, what := range slices.Sorted(maps.Keys(s.counts)) {
		counts = append(counts, fmt.Sprintf("%s %d", what, s.counts[what]))
	}
	t.Logf("after %s: %s", time.Since(s.began).Round(time.Second), strings.Join(counts, ", "))
	for _, v := range s.violations {
		t.Error(v)
	}
	if s.counts["events"] < 10*len(clients) {
		t.Errorf("only %d events", s.counts["events"])
	}
}
