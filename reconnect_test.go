package sse_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	sse "github.com/seed-4dedbcea/caddy-sse"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

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
}

// stubborn takes its time to end.
type stubborn struct {
	end   chan struct{}
	ended atomic.Bool
}

func (*stubborn) Key() string { return "stubborn" }

func (u *stubborn) Stream(ctx context.Context, _ string, sink sse.Sink) error {
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
