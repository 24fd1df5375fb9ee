package share

import (
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

// Whoever ends it may do so at any moment of a connection.
func TestASourceThatHasBeenEndedDoesNotComeToLifeAgain(t *testing.T) {
	asked := new(connections)
	c := testServer(t)
	s := newSource(c, "key", asked)
	s.halt(upstream.ErrStopped)
	if in, err := s.Open(""); in != nil || err == nil {
		t.Errorf("an upstream that answers late: %v, %v", in, err)
	}
	s.down(c, errTest)
	if _, err := s.connect(t.Context()); err == nil || len(asked.opened) > 0 {
		t.Errorf("connecting: %v, %d times", err, len(asked.opened))
	}
	s.halt(errTest)
	if s.state != isFinished || s.over != upstream.ErrStopped || s.upstream != nil {
		t.Errorf("state %s, over %v, upstream %v", s.state, s.over, s.upstream)
	}
	s.adopt(testServer(t), asked)
	if s.upstream != nil {
		t.Error("it holds an upstream that it will not ask")
	}
}
