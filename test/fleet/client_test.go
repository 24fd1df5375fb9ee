//go:build integration

package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// proxy spreads connections over the Caddys, as a load balancer does.
type proxy struct {
	listener net.Listener
	mu       sync.Mutex
	targets  []string
	next     int
	conns    map[net.Conn]struct{}
	running  sync.WaitGroup
}

func newProxy(t *testing.T, targets ...string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, targets: targets, conns: make(map[net.Conn]struct{})}
	p.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.mu.Lock()
		for conn := range p.conns {
			conn.Close()
		}
		p.mu.Unlock()
		p.running.Wait()
	})
	return p
}

func (p *proxy) url() string { return "http://" + p.listener.Addr().String() + "/" }

func (p *proxy) target() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next++
	return p.targets[p.next%len(p.targets)]
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.DialTimeout("tcp", p.target(), time.Second)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	p.conns[client], p.conns[server] = struct{}{}, struct{}{}
	p.mu.Unlock()
	go func() { _, _ = io.Copy(server, client); server.Close() }()
	_, _ = io.Copy(client, server)
	p.mu.Lock()
	delete(p.conns, client)
	delete(p.conns, server)
	p.mu.Unlock()
}

// checker holds all clients to the promise.
type checker struct {
	t       *testing.T
	resumes bool // the upstream does, so that nothing may be missing

	mu      sync.Mutex
	content map[string]string // of each id
	events  int
	gaps    map[string]int // by reason
	newest  map[int]int    // the newest number of each client
	faults  []string       // what has been done, newest last
}

func newChecker(t *testing.T, resumes bool) *checker {
	return &checker{t: t, resumes: resumes, content: make(map[string]string), gaps: make(map[string]int), newest: make(map[int]int)}
}

func (c *checker) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// fail is called with c.mu held.
func (c *checker) fail(format string, args ...any) {
	if !c.t.Failed() {
		for _, fault := range c.faults[max(0, len(c.faults)-20):] {
			c.t.Log(fault)
		}
	}
	c.t.Errorf(time.Now().Format("15:04:05.000 ")+format, args...)
}

// client reads a stream through the proxy, and reconnects.
type client struct {
	*checker
	number int
	url    string
	lastID string
	last   int
	gap    string // the reason of one since the last event
}

// run reads until the context is done. A client that reads slowly or leaves now and then is as good as any.
func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		life, cancel := context.WithTimeout(ctx, time.Second+rand.N(20*time.Second))
		c.read(life)
		cancel()
		select {
		case <-ctx.Done():
		case <-time.After(50*time.Millisecond + rand.N(100*time.Millisecond)):
		}
	}
}

func (c *client) read(ctx context.Context) {
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	r.Header.Set("Accept", "text/event-stream")
	if c.lastID != "" {
		r.Header.Set("Last-Event-ID", c.lastID)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return // a Caddy that is about to stop
	}
	parser := ssetest.Parser{LastEventID: c.lastID}
	buffer := make([]byte, 16<<10)
	for {
		n, err := response.Body.Read(buffer)
		for _, event := range parser.Feed(buffer[:n]) {
			c.take(event)
		}
		if id := parser.LastEventID; id != "" {
			c.lastID = id
		}
		if err != nil {
			return
		}
	}
}

func (c *client) take(event ssetest.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if event.Type == "sse-gap" {
		var gap struct{ Reason string }
		_ = json.Unmarshal([]byte(event.Data), &gap)
		if c.last > 0 { // else it has nothing that something could be missing after
			c.gap = gap.Reason
			c.gaps[gap.Reason]++
		}
		return
	}
	var record struct{ N int }
	if err := json.Unmarshal([]byte(event.Data), &record); err != nil || event.Type != "message" {
		c.fail("client %d: %s %q", c.number, event.Type, event.Data)
		return
	}
	c.events++
	if known, ok := c.content[event.ID]; ok && known != event.Data {
		c.fail("id %s has the contents %s and %s", event.ID, known, event.Data)
	}
	c.content[event.ID] = event.Data
	switch {
	case c.last == 0:
	case record.N <= c.last && c.gap == "":
		c.fail("client %d: %d after %d, at %s", c.number, record.N, c.last, event.ID)
	case record.N > c.last+1 && c.gap == "":
		c.fail("client %d: %d after %d without a gap, at %s", c.number, record.N, c.last, event.ID)
	case record.N > c.last+1 && c.resumes:
		c.fail("client %d: %d after %d, gap %s, although the upstream resumes", c.number, record.N, c.last, c.gap)
	}
	c.last, c.gap = record.N, ""
	c.newest[c.number] = record.N
}

// behind returns the newest number of the client that is furthest behind.
func (c *checker) behind(clients int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.newest) < clients {
		return 0
	}
	least := -1
	for _, n := range c.newest {
		if least < 0 || n < least {
			least = n
		}
	}
	return least
}

func (c *checker) summary() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var reasons []string
	for reason, n := range c.gaps {
		reasons = append(reasons, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(reasons)
	return fmt.Sprintf("%d clients, %d events, %d different, gaps: %v", len(c.newest), c.events, len(c.content), reasons)
}
