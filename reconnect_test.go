package sse

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestASourceWithoutStreamsDoesNotReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := provisioned(t, &Handler{Share: &Share{Lag: lagSkip}}).share
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

func (f *forgetful) Stream(ctx context.Context, lastID string, sink Sink) error {
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
	return errHub
}

func TestAnIDThatTheUpstreamRefusesIsLeftOutOnce(t *testing.T) {
	t.Run("and clients get a gap", func(t *testing.T) {
		u := newHub(t)
		address := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery != "after=" {
				w.WriteHeader(http.StatusRequestURITooLong)
				return
			}
			u.ServeHTTP(w, r)
		})
		server := startSharing(t, site("backend http http://"+address+"/?after={last_id}\nid {record}\nshare", ""))
		client := get(t, server, "/")
		u.wait(t, 1)
		u.say("1\n")
		client.WaitEvents(1)
		u.end(errHub)
		u.wait(t, 1)
		u.say("next\n")
		e := client.WaitEvents(3)
		if e[1].Type != frame.TypeGap || !strings.Contains(e[1].Data, `"reason":"upstream"`) || e[2].Data != "next" {
			t.Errorf("want a gap and what comes next: %+v", e[1:])
		}
	})

	t.Run("and not for ever", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := provisioned(t, &Handler{Share: &Share{Lag: lagSkip}}).share
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
	})
}

// stubborn takes its time to end.
type stubborn struct {
	end   chan struct{}
	ended atomic.Bool
}

func (*stubborn) Key() string { return "stubborn" }

func (u *stubborn) Stream(ctx context.Context, _ string, sink Sink) error {
	if _, err := sink.Open(""); err != nil {
		return err
	}
	<-ctx.Done()
	<-u.end
	u.ended.Store(true)
	return nil
}

func TestAnUpstreamThatTakesItsTimeToEndHoldsNoResponseBack(t *testing.T) {
	upstream := &stubborn{end: make(chan struct{})}
	hubs.Store(t.Name(), upstream)
	defer hubs.Delete(t.Name())
	server := startSharing(t, site("backend test_hub "+t.Name()+"\nmax_duration 100ms\nshare {\nlinger 0\n}", ""))
	_ = wholeBody(t, get(t, server, "/"))
	if upstream.ended.Load() {
		t.Error("the upstream has ended before the response")
	}
	close(upstream.end)
}
