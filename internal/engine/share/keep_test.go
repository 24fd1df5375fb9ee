package share

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// configured is an upstream that is another one with each config.
type configured func(backend.Sink) error

func (configured) Key() string                                                   { return "configured" }
func (configured) SourceKey(key string) string                                   { return key }
func (configured) ReplacedBy(backend.Upstream) bool                              { return true }
func (u configured) Stream(_ context.Context, _ string, sink backend.Sink) error { return u(sink) }

// A config that takes over while its source comes to an end must not take that for its own doing.
func TestAnUpstreamThatHasEndedIsNotAskedAgainByANewConfig(t *testing.T) {
	asked := make(chan struct{}, 9)
	ends := func(c *Config) { c.Ends, c.Keep = true, -1 }
	before, after := testServer(t, ends), testServer(t, ends)
	var s *source
	held := make(chan struct{})
	s = newSource(before, "", configured(func(sink backend.Sink) error {
		asked <- struct{}{}
		in, err := sink.Open("application/x-ndjson")
		if err != nil {
			return err
		}
		_, err = in.Write([]byte("1\n"))
		s.mu.Lock() // the source is not to notice the end yet
		close(held)
		return err
	}))
	go s.run()
	<-held
	ssetest.Wait(t, "the source to wait for its lock", func() bool {
		stacks := make([]byte, 1<<20)
		for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			if strings.Contains(stack, "(*source).connect(") && strings.Contains(stack, "sync.(*Mutex).Lock") && !strings.Contains(stack, "Stream(") {
				return true
			}
		}
		return false
	})
	s.adoptLocked(after, configured(func(backend.Sink) error { asked <- struct{}{}; return nil }))
	s.mu.Unlock()
	select {
	case <-s.done:
	case <-time.After(10 * time.Second):
		s.cancel()
		<-s.done
		t.Error("the source goes on")
	}
	if len(asked) != 1 {
		t.Errorf("upstreams were asked %d times, want once", len(asked))
	}
}
