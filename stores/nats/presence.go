package nats

import (
	"context"

	"github.com/nats-io/nats.go"
)

// presence implements store.Presence.
type presence struct{ *connection }

// How much may wait for those that watch. More is lost.
const (
	mostUnread      = 256
	mostUnreadBytes = 16 << 20
)

// Announce implements store.Presence.
func (p presence) Announce(data []byte) error {
	p.mu.Lock()
	s := p.current
	p.mu.Unlock()
	switch {
	case p.ctx.Err() != nil:
		return errClosed
	case s == nil:
		return p.absent()
	}
	return explain(s.nc.Publish(p.subject.presence, data))
}

// Watch implements store.Presence.
func (p presence) Watch(ctx context.Context, f func(data []byte)) error {
	s, err := p.session(ctx)
	if err != nil {
		return err
	}
	call, end := s.begin(ctx, p.subject.presence, nil)
	defer end()
	heard := make(chan *nats.Msg)
	sub, err := s.nc.Subscribe(p.subject.presence, func(m *nats.Msg) {
		select {
		case heard <- m:
		case <-call.Done():
		}
	})
	if err != nil {
		return call.why(ctx, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // it fails if the connection is lost, and then is of no use
	if err := sub.SetPendingLimits(mostUnread, mostUnreadBytes); err != nil {
		return call.why(ctx, err)
	}
	for {
		select {
		case <-call.Done():
			return call.why(ctx, nil)
		case m := <-heard:
			if len(m.Data) > 0 { // else it was sent to see whether it may be
				f(m.Data)
			}
		}
	}
}
