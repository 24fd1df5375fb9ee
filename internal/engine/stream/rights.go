package stream

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Rights say how long a client may have its stream.
type Rights struct {
	Until time.Time // zero: no limit

	// Refused reports, at each interval, whether the client has lost its right. It is nil if nobody checks.
	Refused  func(context.Context) bool
	Interval time.Duration
}

type rightsKey struct{}

// WithRights returns a request whose stream ends with these rights.
func WithRights(r *http.Request, rights *Rights) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), rightsKey{}, rights))
}

// keeper ends a stream with its rights.
type keeper struct {
	stream *Stream
	rights *Rights
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	ended  bool
	expiry *time.Timer
	check  *time.Timer
}

// KeepRights ends the response with its client's rights, be it a stream or one that passes unchanged.
func (s *Stream) KeepRights() {
	if s.group.HasRights {
		s.keeper = s.keepRights()
	}
}

// EndsWithRights reports whether the response ends with its client's rights.
func (s *Stream) EndsWithRights() bool { return s.keeper != nil }

// LostRights reports whether the client has lost its rights.
func (s *Stream) LostRights() bool {
	reason := s.EndReason()
	return reason == EndExpired || reason == EndUnauthorized
}

// keepRights ends the stream with its client's rights. It returns nil if there are none.
func (s *Stream) keepRights() *keeper {
	rights, _ := s.Request.Context().Value(rightsKey{}).(*Rights)
	if rights == nil {
		return nil
	}
	k := &keeper{stream: s, rights: rights}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.mu.Lock()
	defer k.mu.Unlock()
	if !rights.Until.IsZero() {
		k.expiry = time.AfterFunc(min(time.Until(rights.Until), noLimit), func() { s.End(EndExpired) })
	}
	if rights.Refused != nil {
		k.check = time.AfterFunc(k.untilNext(), k.look)
	}
	return k
}

// untilNext returns the time until the next check: the interval, give or take a fifth, so that the checks of many streams
// do not come together.
func (k *keeper) untilNext() time.Duration {
	fifth := min(k.rights.Interval, noLimit) / 5
	return 4*fifth + rand.N(2*fifth+1)
}

func (k *keeper) look() {
	ctx, cancel := context.WithTimeout(k.ctx, k.rights.Interval)
	defer cancel()
	if k.rights.Refused(ctx) {
		k.stream.End(EndUnauthorized)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.ended {
		k.check.Reset(k.untilNext())
	}
}

// end stops the clocks of a stream that has ended.
func (k *keeper) end() {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = true
	k.cancel()
	for _, timer := range []*time.Timer{k.expiry, k.check} {
		if timer != nil {
			timer.Stop()
		}
	}
}
