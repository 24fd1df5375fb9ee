package share

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
)

// connections is an Upstream that notes when it is opened.
type connections struct {
	last   time.Duration // how long each of them lasts
	opened []time.Time
}

func (*connections) Key() string { return "connections" }

func (c *connections) Stream(ctx context.Context, _ string, sink backend.Sink) error {
	c.opened = append(c.opened, time.Now())
	if c.last > 0 {
		if _, err := sink.Open(""); err != nil {
			return err
		}
	}
	select {
	case <-time.After(c.last):
		return errTest
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestTheWaitBeforeAReconnectGrowsWithFailuresButNotWithSilence(t *testing.T) {
	for name, tc := range map[string]struct {
		last, atLeast, atMost time.Duration // the connection, and the longest of the waits
	}{
		"refused":                       {0, 2 * minBackoff, maxBackoff},
		"soon broken off":               {time.Second, 2 * minBackoff, maxBackoff},
		"broken off after long silence": {time.Hour, 0, minBackoff},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := testServer(t, skipsLag)
				upstream := &connections{last: tc.last}
				s := newSource(c, "", upstream)
				s.enter(&delivery{view: &view{server: c}})
				go s.run()
				time.Sleep(30 * (tc.last + maxBackoff))
				s.cancel()
				<-s.done

				var longest time.Duration
				for i, at := range upstream.opened[1:] {
					longest = max(longest, at.Sub(upstream.opened[i])-tc.last)
				}
				if longest < tc.atLeast || longest > tc.atMost {
					t.Errorf("the longest of %d waits is %v, want from %v to %v", len(upstream.opened), longest, tc.atLeast, tc.atMost)
				}
			})
		})
	}
}

func TestASourceWithoutStreamsDoesNotReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testServer(t, skipsLag)
		upstream := new(connections)
		s := newSource(c, "", upstream)
		go s.run()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(upstream.opened); n != 1 {
			t.Errorf("%d connections for nobody, want 1", n)
		}
		d := &delivery{view: &view{server: c}}
		s.enter(d)
		synctest.Wait()
		if n := len(upstream.opened); n != 2 {
			t.Errorf("%d connections once a stream is there, want 2", n)
		}
		s.exit(d)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(upstream.opened); n != 2 {
			t.Errorf("%d connections after it has left, want 2", n)
		}
		s.cancel()
		<-s.done
	})
}

// forgetful is an upstream that cannot go on after the last id. It says so with its status, or in a record.
type forgetful struct {
	inRecord bool
	always   bool // without an id it fails, too
	asked    []string
	opened   []time.Time
}

func (*forgetful) Key() string { return "forgetful" }

func (f *forgetful) Stream(ctx context.Context, lastID string, sink backend.Sink) error {
	f.asked, f.opened = append(f.asked, lastID), append(f.opened, time.Now())
	if lastID != "" && !f.inRecord {
		return caddyhttp.Error(http.StatusBadGateway, failure.BadStatus(http.StatusRequestURITooLong))
	}
	in, err := sink.Open("text/event-stream")
	if err != nil {
		return err
	}
	said := "id: up\ndata: 1\n\n"
	if lastID != "" || f.always {
		said = "data: gone\n\n"
	}
	if _, err := in.Write([]byte(said)); err != nil {
		return err
	}
	return errTest
}

// runFor runs a source whose upstream says "gone" if it has failed.
func runFor(t *testing.T, upstream backend.Upstream, d time.Duration) {
	t.Helper()
	ending, err := mapping.ParseEnding(mapping.EndingSpec{Error: `record == "gone"`})
	if err != nil {
		t.Fatal(err)
	}
	c := testServer(t, skipsLag, func(c *Config) { c.Ending = ending })
	s := newSource(c, "", upstream)
	client := &delivery{view: &view{server: c}}
	client.queued.Store(true) // nobody writes to it
	client.subscriber = s.records.Subscribe(0, client)
	s.enter(client)
	go s.run()
	time.Sleep(d)
	s.cancel()
	<-s.done
}

func TestAnIDThatTheUpstreamRefusesIsNotLeftOutForEver(t *testing.T) {
	for name, inRecord := range map[string]bool{"with a status": false, "in a record": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				upstream := &forgetful{inRecord: inRecord}
				runFor(t, upstream, 10*time.Minute)
				for i, id := range upstream.asked[:6] {
					if want := []string{"", "up"}[i%2]; id != want {
						t.Errorf("attempt %d with the id %q, want %q", i+1, id, want)
					}
				}
			})
		})
	}
}

func TestTheWaitGrowsWhileTheUpstreamSaysThatItHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upstream := &forgetful{inRecord: true, always: true}
		runFor(t, upstream, 30*maxBackoff)
		var longest time.Duration
		for i, at := range upstream.opened[1:] {
			longest = max(longest, at.Sub(upstream.opened[i]))
		}
		if longest < 2*minBackoff {
			t.Errorf("the longest of %d waits is %v", len(upstream.opened), longest)
		}
	})
}
