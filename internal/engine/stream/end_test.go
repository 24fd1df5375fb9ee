package stream

import (
	"net/http/httptest"
	"testing"
)

// It has come to the source just before that was ended, and is no more told of a failure than the others.
func TestAStreamWhoseSourceTheAdminAPIHasEndedEndsByThat(t *testing.T) {
	s := &Stream{group: &Group{Config: Config{EndFrame: []byte("data: over\n\n")}}, Request: httptest.NewRequest("GET", "/", nil)}
	s.cancel = func() {}
	if last, events := s.lastFrame(ErrEndedByAdmin); len(last) > 0 || events > 0 || s.EndReason() != EndAdmin {
		t.Errorf("got %q, %d events, reason %q", last, events, s.EndReason())
	}
}
