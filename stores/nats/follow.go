package nats

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// How much may wait for a follower. More is lost, and read.
const (
	mostWaiting      = 512
	mostWaitingBytes = 8 << 20
)

// Follow implements store.Log. The server publishes what it has stored, which may be lost, and says with each message which
// one came before it. Lost messages are read.
func (l *log) Follow(ctx context.Context, after store.Pos, f func(store.Message) error) error {
	s, err := l.session(ctx)
	if err != nil {
		return err
	}
	call, end := s.begin(ctx, l.live, make(chan uint64, 1))
	defer end()
	live := make(chan *nats.Msg)
	sub, err := s.nc.Subscribe(l.live, func(m *nats.Msg) {
		select {
		case live <- m:
		case <-call.Done():
		}
	})
	if err != nil {
		return call.why(ctx, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // it fails if the connection is lost, and then is of no use
	if err := sub.SetPendingLimits(mostWaiting, mostWaitingBytes); err != nil {
		return call.why(ctx, err)
	}
	r := &reader{s, l.subject, after, f}
	err = r.catchUp(call)
	var complete uint64 // up to this sequence, nothing is missing
	for err == nil {
		select {
		case <-call.Done():
			return call.why(ctx, nil)
		case m := <-live:
			err = r.hear(call, m)
		case last := <-call.told:
			if last <= max(complete, uint64(r.after)) {
				continue
			}
			if err = r.catchUp(call); err == nil {
				complete = last
			}
		}
	}
	if own, ok := errors.AsType[*ownError](err); ok {
		return own.error
	}
	return call.why(ctx, err)
}
