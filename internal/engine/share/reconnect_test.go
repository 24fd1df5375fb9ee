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

// forgetful is an upstream that cannot go on after the last id.
type forgetful struct{ asked []string }

func (*forgetful) Key() string { return "forgetful" }

func (f *forgetful) Stream(ctx context.Context, lastID string, sink backend.Sink) error {
	f.asked = append(f.asked, lastID)
	if lastID != "" {
		return caddyhttp.Error(http.StatusBadGateway, failure.BadStatus(http.StatusRequestURITooLong))
	}
	in, err := sink.Open("text/event-stream")
	if err != nil {
		return err
	}
	if _, err := in.Write([]byte("id: up\ndata: 1\n\n")); err != nil {
		return err
	}
	return errTest
}

func TestAnIDThatTheUpstreamRefusesIsNotLeftOutForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testServer(t, skipsLag)
		upstream := new(forgetful)
		s := newSource(c, "", upstream)
		s.enter(&delivery{view: &view{server: c}})
		go s.run()
		time.Sleep(10 * time.Minute)
		s.cancel()
		<-s.done
		for i, id := range upstream.asked[:6] {
			if want := []string{"", "up"}[i%2]; id != want {
				t.Errorf("attempt %d with the id %q, want %q", i+1, id, want)
			}
		}
	})
}
