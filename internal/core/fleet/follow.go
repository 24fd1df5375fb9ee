package fleet

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// Errors that end following: the source takes nothing more.
var (
	errOver  = errors.New("the upstream has come to its end")
	errReset = errors.New("the store has lost more than can be bridged")
)

// follow applies the log's messages until the member leaves.
func (m *Member) follow() {
	for failed := 0; m.ctx.Err() == nil; failed++ {
		before := m.position()
		err := m.followOnce()
		switch {
		case m.ctx.Err() != nil, errors.Is(err, errOver), errors.Is(err, errReset):
			return
		case err == nil:
			failed = -1
			continue
		}
		m.fleet.observer.Failed(m.name, err)
		m.noteFailure()
		if m.position() != before {
			failed = 0
		}
		pause(m.ctx, min(100*time.Millisecond<<min(failed, 5), 500*time.Millisecond))
	}
}

// noteFailure notes that the log has failed. The silence of other processes means nothing then, as far as it is concerned.
func (m *Member) noteFailure() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed = time.Now()
}

func (m *Member) position() store.Pos {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pos
}

// followOnce follows until something fails. It returns nil if the member is to look at the head and follow anew.
func (m *Member) followOnce() error {
	ctx, cancel := context.WithCancelCause(m.ctx)
	defer cancel(nil)
	select {
	case <-m.refollow: // it is about to
	default:
	}
	head, err := m.head(ctx)
	if err != nil {
		return err
	}
	after := m.position()
	if m.knows(head) {
		m.sync()
	}
	switch { // messages that are known are recognized
	case after > head.Pos:
		after = 0 // the store has lost messages
	case after > 0:
		after-- // if it has lost that message, another one may be in its place
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-m.refollow:
			cancel(errAnew)
		case <-ctx.Done():
		}
	}()
	err = m.log.Follow(ctx, after, func(msg store.Message) error {
		err := m.apply(msg)
		if msg.Pos == head.Pos && err == nil {
			m.sync()
		}
		return err
	})
	cancel(nil)
	<-watched
	if context.Cause(ctx) == errAnew {
		return nil
	}
	return cmp.Or(err, errInterrupted)
}

var (
	errAnew        = errors.New("the member is behind others")
	errInterrupted = errors.New("the store has stopped sending messages")
)

// followAnew has the member look at the head.
func (m *Member) followAnew() {
	select {
	case m.refollow <- struct{}{}:
	default:
	}
}

// head returns the log's newest message. Its place is 0 if there is none.
func (m *Member) head(ctx context.Context) (store.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, m.fleet.settings.Lease)
	defer cancel()
	head, err := m.log.Head(ctx)
	if errors.Is(err, store.ErrEmpty) {
		return store.Message{}, nil
	}
	return head, err
}

// sync notes that all is applied that was there when the member came. Only then does it take part in elections.
func (m *Member) sync() {
	m.mu.Lock()
	known := m.synced
	m.mu.Unlock()
	if !known {
		m.src.Synced()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.synced = true
	m.change()
}

// change notifies those who wait for the member to get further. m.mu is held.
func (m *Member) change() {
	close(m.moved)
	m.moved = make(chan struct{})
}

// knows reports whether a log's newest message has been applied. Its place would not tell, as a store that has lost
// messages may give their places again. A foreign message has nothing but its place.
func (m *Member) knows(head store.Message) bool {
	b, err := decode(head.Data)
	m.mu.Lock()
	defer m.mu.Unlock()
	if head.Pos <= m.from || err != nil {
		return head.Pos <= m.pos
	}
	return m.seen.has(b.node, b.nonce)
}

// await waits until the log's newest message is applied. It returns false if the context was done first, or the source takes
// nothing more.
func (m *Member) await(ctx context.Context, head store.Message) bool {
	for {
		m.mu.Lock()
		p := m.place
		m.mu.Unlock()
		switch {
		case m.knows(head):
			return true
		case p.ended != nil:
			return false
		}
		select {
		case <-p.moved:
		case <-ctx.Done():
			return false
		}
	}
}

// apply applies a message, unless it was applied before.
func (m *Member) apply(msg store.Message) error {
	b, err := decode(msg.Data)
	if err != nil {
		m.fleet.observer.Failed(m.name, err)
	}
	m.applying.Lock()
	defer m.applying.Unlock()
	m.mu.Lock()
	p := m.place
	isNew := p.ended == nil && err == nil && msg.Pos > p.from && !m.seen.has(b.node, b.nonce)
	m.mu.Unlock()
	if p.ended != nil {
		return p.ended
	}
	if isNew {
		m.take(&p, b, msg.Pos)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if isNew || msg.Pos > p.pos {
		p.pos = msg.Pos
	}
	if isNew {
		m.seen.add(b.node, b.nonce)
		m.keep(msg.Pos, b, len(msg.Data))
		switch {
		case b.node == m.id:
			p.own = b.nonce
		case m.synced:
			p.heard = time.Now()
		}
	}
	p.synced, p.moved = m.synced, m.moved
	m.place = p
	m.change()
	return p.ended
}

// take gives a message to the source. m.applying is held.
func (m *Member) take(p *place, b *batch, pos store.Pos) {
	before := b.first - 1
	switch cold := p.epoch == ""; {
	case cold:
		if before > 0 && p.from == 0 {
			m.src.Missed(before)
		}
	case before < p.last:
		p.ended = errReset
		m.src.Reset()
		return
	case b.losses > p.losses:
		m.src.Gap(GapStore, before)
	case before > p.last || b.after != p.mark:
		p.missed++
		m.src.Gap(GapHistory, before)
	}
	if p.epoch == "" || b.after != p.mark || b.losses > p.losses {
		m.src.SetPosition(b.position)
	}
	p.last, p.losses, p.mark = before, max(b.losses, p.losses), b.mark()
	if b.epoch != p.epoch {
		p.epoch, p.leader = b.epoch, b.node
		m.src.Opened(b.epoch, before)
	}
	switch b.kind {
	case isRecords:
		var err error // of none: decode has looked
		m.src.Apply(b.first, eachEntry(b.entries, &err))
		p.last = b.last()
	case isOver:
		p.ended = errOver
		m.src.Over(b.text, b.at, pos)
	}
}

// seen tells messages that were applied from those that were not: each member numbers its own.
type seen struct {
	newest map[string]uint64
	order  []string
}

// maxSeen is of how many members that is known.
const maxSeen = 1024

// has reports whether a message was applied.
func (s *seen) has(member string, nonce uint64) bool {
	newest, known := s.newest[member]
	return known && nonce <= newest
}

// add notes that a message was applied.
func (s *seen) add(member string, nonce uint64) {
	if _, known := s.newest[member]; !known {
		if s.newest == nil {
			s.newest = make(map[string]uint64)
		}
		s.order = append(s.order, member)
		if len(s.order) > maxSeen {
			delete(s.newest, s.order[0])
			s.order = s.order[1:]
		}
	}
	s.newest[member] = nonce
}
