package share

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/backend"
)

// client is a response writer whose client can stop reading.
type client struct {
	header http.Header
	stall  *stall // nil: it always reads

	mu      sync.Mutex
	last    time.Time     // when it was written to
	longest time.Duration // between two writes
	writes  int
}

// stall is a time in which clients do not read.
type stall struct {
	over  atomic.Pointer[chan struct{}] // nil: they read
	stuck atomic.Int64
}

func (s *stall) begin() {
	over := make(chan struct{})
	s.over.Store(&over)
}

func (s *stall) end() { close(*s.over.Swap(nil)) }

func (c *client) Header() http.Header              { return c.header }
func (c *client) WriteHeader(int)                  {}
func (c *client) FlushError() error                { return nil }
func (c *client) SetWriteDeadline(time.Time) error { return nil }

func (c *client) Write(p []byte) (int, error) {
	if c.stall != nil {
		if over := c.stall.over.Load(); over != nil {
			c.stall.stuck.Add(1)
			<-*over
			c.stall.stuck.Add(-1)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); c.writes > 0 {
		c.longest = max(c.longest, now.Sub(c.last))
	}
	c.last = time.Now()
	c.writes++
	return len(p), nil
}

// longestGap returns the longest time between two writes since it was last asked.
func (c *client) longestGap() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	longest := c.longest
	c.longest = 0
	return longest
}

// metronome is an upstream that says a number at each tick.
type metronome time.Duration

func (metronome) Key() string { return "metronome" }

func (m metronome) Stream(ctx context.Context, _ string, sink backend.Sink) error {
	in, err := sink.Open("")
	if err != nil {
		return err
	}
	tick := time.NewTicker(time.Duration(m))
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-tick.C:
			if _, err := io.WriteString(in, fmt.Sprintln(n)); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// The clock is synctest's: it stands still while anything can run. So the gaps are those that the code waits for, however
// busy the machine is.
func TestClientsThatStopReadingAtTheSameMomentDelayNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients, tick = 2000, 20 * time.Millisecond
		c := testServer(t)
		ctx, leave := context.WithCancel(t.Context())
		var serving sync.WaitGroup
		serve := func(reader *client) {
			reader.header = make(http.Header)
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
			r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), reader, &caddyhttp.Server{})
			serving.Go(func() {
				if err := c.Serve(reader, r, metronome(tick)); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		var asleep stall
		for range clients {
			serve(&client{stall: &asleep})
		}
		awake := new(client)
		serve(awake)

		for _, again := range []string{"first", "second"} {
			time.Sleep(time.Second)
			awake.longestGap()
			asleep.begin()
			time.Sleep(10 * tick)
			synctest.Wait()
			if n := asleep.stuck.Load(); n != clients {
				t.Errorf("%s time: %d clients are stuck, want %d", again, n, clients)
			}
			if gap, most := awake.longestGap(), tick+2*stuckAfter; gap > most {
				t.Errorf("%s time: a client that reads waited %v for the next event, want at most %v", again, gap, most)
			}
			asleep.end()
		}
		leave()
		serving.Wait()
		CloseAll()
	})
}
