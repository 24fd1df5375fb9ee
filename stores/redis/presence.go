package redis

import (
	"bytes"
	"context"
	"time"
)

// presence implements store.Presence.
type presence struct{ *connection }

// presenceChannel is the name of the channel for announcements, without the prefix.
const presenceChannel = "presence"

// mostUnread is how many messages may wait for one Watch. More are lost.
const mostUnread = 256

// announceWithin is how long Announce waits for Redis to confirm.
const announceWithin = 500 * time.Millisecond

// Announce implements store.Presence.
func (p presence) Announce(data []byte) error {
	ctx, cancel := context.WithTimeoutCause(p.ctx, announceWithin, errSilent)
	defer cancel()
	data = bytes.Clone(data) // because go-redis may write it after Announce has returned
	_, err := call(ctx, p.connection, func(ctx context.Context) (int64, error) {
		return p.client.Publish(ctx, p.prefix+presenceChannel, data).Result()
	})
	return err
}

// Watch implements store.Presence.
func (p presence) Watch(ctx context.Context, f func(data []byte)) error {
	l := p.listeners.add(p.prefix+presenceChannel, mostUnread)
	defer p.listeners.remove(l)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.ctx.Done():
			return errClosed
		case err := <-l.failed:
			return err
		case data := <-l.told:
			f([]byte(data))
		}
	}
}
