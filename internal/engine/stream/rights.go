package stream

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Rights limit a client's right to its stream.
type Rights struct {
	Until time.Time // when the right expires; zero: never

	// Refused is called at each interval. It reports whether the client has lost its right. If it is nil, nothing is checked.
	Refused  func(context.Context) bool
	Interval time.Duration
}

type rightsKey struct{}

// WithRights returns a request whose stream ends when these rights end.
func WithRights(r *http.Request, rights *Rights) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), rightsKey{}, rights))
}

// keeper ends a stream when its client loses its rights.
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

// KeepRights makes the response end when its client loses its rights. The response may be a stream, or pass unchanged.
func (s *Stream) KeepRights() {
	if s.group.HasRights {
		s.keeper = s.keepRights()
	}
}

// EndsWithRights reports whether the response ends when its client loses its rights.
func (s *Stream) EndsWithRights() bool { return s.keeper != nil }

// LostRights reports whether the client has lost its rights.
func (s *Stream) LostRights() bool {
	reason := s.EndReason()
	return reason == EndExpired || reason == EndUnauthorized
}

// keepRights makes the stream end when its client loses its rights. It returns nil if the request has none.
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

// untilNext returns the time until the next check. It is the interval, up to a fifth shorter or longer, so that the checks for many
// streams do not come together.
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

// end stops the timers and a running check.
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
