package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// lead takes the source over, and has its upstream until another member takes over.
func (m *Member) lead(reason string) {
	ctx, cancel := context.WithCancel(m.ctx)
	defer cancel()
	epoch, former, lost := m.open(ctx, false)
	switch {
	case epoch == "":
		return
	case lost:
		reason = Rewound
	case !former:
		reason = First
	}
	m.fleet.observer.Leads(1)
	defer m.fleet.observer.Leads(-1)
	if !m.everyone {
		m.fleet.observer.TookOver(reason)
	}
	m.fleet.announceSoon()

	w, closed := newWriter(), make(chan struct{})
	go func() {
		defer close(closed)
		if over, text := m.src.Lead(ctx, w, reason != First); over {
			w.finish(text)
		}
	}()
	err := m.storeAll(ctx, w, epoch)
	cancel()
	if dropped := w.close(errDeposed); errors.Is(err, errDeposed) {
		m.fleet.observer.Fenced(dropped)
	}
	<-closed
}

// open begins an epoch, in which nobody but this member writes. It returns none if another member was quicker, or if the
// store does not answer. It also returns whether there was an epoch before, and whether the store has lost messages, as
// the caller may know.
func (m *Member) open(ctx context.Context, hasLost bool) (epoch string, former, lost bool) {
	ctx, cancel := context.WithTimeout(ctx, 2*m.fleet.settings.Lease)
	defer cancel()
	for range maxTries {
		epoch, former, lost, err := m.tryOpen(ctx, hasLost)
		if !errors.Is(err, errDeposed) || !m.isYielded() {
			return epoch, former, lost
		}
	}
	return "", false, false
}

// maxTries is how often a member tries to take over from one that yields and goes on until then: at a high rate, that is
// often quicker.
const maxTries = 20

// isYielded reports whether a peer leads until another one takes over, and none leads otherwise.
func (m *Member) isYielded() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.anyFresh(func(p peer) bool { return p.yields }) && !m.anyFresh(func(p peer) bool { return p.leads && !p.yields })
}

// tryOpen is open, once. It returns errDeposed if another member was quicker.
func (m *Member) tryOpen(ctx context.Context, hasLost bool) (epoch string, former, lost bool, err error) {
	head, err := m.head(ctx)
	if err != nil {
		m.fleet.observer.Failed(m.name, err)
		return "", false, false, err
	}
	if !m.await(ctx, head) {
		return "", false, false, context.Cause(ctx)
	}
	m.mu.Lock()
	p := m.place
	last := p.last
	lost = hasLost || p.epoch != "" && markOf(head) != p.mark && !m.outlived(head)
	for _, other := range m.peers {
		ofThis := other.pos > m.from // else of a source that has ended before this one
		if other.last > last && ofThis && time.Since(other.heard) < m.fleet.settings.Lease {
			last, lost = other.last, true // it has records that the log does not have, unless another one leads
		}
	}
	m.mu.Unlock()
	b := &batch{
		kind: isOpened, epoch: newEpoch(), node: m.id, nonce: m.newNonce(), at: time.Now(),
		after: p.mark, first: last + 1, position: m.src.Position(), losses: p.losses,
	}
	if lost {
		b.losses++
	}
	if err := m.put(ctx, head.Pos, b); err != nil {
		return "", false, false, err
	}
	return b.epoch, p.epoch != "", lost, nil
}

// outlived reports whether an empty log is so because all of it was too old. m.mu is held.
func (m *Member) outlived(head store.Message) bool {
	if head.Pos > 0 || len(m.messages) == 0 {
		return false
	}
	return time.Since(m.messages[len(m.messages)-1].at) > m.fleet.settings.Age*9/10
}

// newEpoch returns an epoch that no other has: the time, and a random part.
func newEpoch() string {
	return strconv.FormatInt(time.Now().UnixMicro(), 36) + strconv.FormatUint(rand.Uint64N(36*36*36), 36)
}

func (m *Member) newNonce() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nonce++
	return m.nonce
}

// put appends a message after that place, and applies it. It retries until the store has answered. It returns errDeposed if
// another message is there.
func (m *Member) put(ctx context.Context, after store.Pos, b *batch) error {
	data := b.encode()
	for failed := 0; ; failed++ {
		began := time.Now()
		trial, cancel := context.WithTimeout(ctx, m.fleet.settings.Lease)
		pos, err := m.log.Append(trial, after, data)
		cancel()
		m.fleet.observer.Appended(time.Since(began), err)
		switch {
		case err == nil:
			return unlessOver(m.apply(store.Message{Pos: pos, Data: data}))
		case errors.Is(err, store.ErrTooLarge):
			return err
		case !errors.Is(err, store.ErrConflict):
			m.fleet.observer.Failed(m.name, err)
		}
		head, err := m.headAtLast(ctx)
		if err != nil {
			return err
		}
		switch newest, err := decode(head.Data); {
		case head.Pos == after:
		case err == nil && newest.node == b.node && newest.nonce == b.nonce: // an attempt whose answer was lost
			return unlessOver(m.apply(head))
		default:
			return errDeposed
		}
		if !pause(ctx, min(10*time.Millisecond<<min(failed, 7), time.Second)) {
			return ctx.Err()
		}
	}
}

// unlessOver returns an error of apply, but nil for the one that only says that there is no more to come.
func unlessOver(err error) error {
	if errors.Is(err, errOver) {
		return nil
	}
	return err
}

// headAtLast is head, but waits until the store answers.
func (m *Member) headAtLast(ctx context.Context) (store.Message, error) {
	for failed := 0; ; failed++ {
		head, err := m.head(ctx)
		if err == nil {
			return head, nil
		}
		m.fleet.observer.Failed(m.name, err)
		if !pause(ctx, min(50*time.Millisecond<<min(failed, 5), time.Second)) {
			return head, ctx.Err()
		}
	}
}

// storeAll stores what the writer is given, until another member has taken over or the upstream has come to its end.
func (m *Member) storeAll(ctx context.Context, w *Writer, epoch string) error {
	missed := m.hasMissed()
	for {
		m.mu.Lock()
		p := m.place
		m.mu.Unlock()
		if p.ended != nil {
			return p.ended
		}
		if !m.everyone && p.epoch != epoch {
			return errDeposed
		}
		b := &batch{kind: isRecords, epoch: epoch, node: m.id, at: time.Now(), after: p.mark, first: p.last + 1, losses: p.losses}
		c, over, text := w.next()
		switch {
		case c != nil:
			b.count, b.entries = c.count, c.entries
		case over:
			b.kind, b.text = isOver, text
		default:
			select {
			case <-w.filled:
			case <-p.moved:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		b.position, b.nonce = m.src.Position(), m.newNonce()
		var err error
		if m.everyone {
			if err = m.putAmongOthers(ctx, b, missed); errors.Is(err, errDeposed) {
				missed = m.hasMissed()
				epoch = m.openAnew(ctx)
				continue
			}
		} else {
			err = m.put(ctx, p.pos, b)
		}
		switch {
		case errors.Is(err, store.ErrTooLarge) && c != nil:
			w.split(m.src.TooLarge())
		case err != nil, over:
			return err
		default:
			w.stored()
			m.trim(ctx)
		}
	}
}

// putAmongOthers is put for a log that each member appends to. Where another one was quicker, it comes after that. Each
// writes in an epoch of its own, so that an id stands for one record even if the store loses some of them. It returns
// errDeposed if the store may have lost what this member has written.
func (m *Member) putAmongOthers(ctx context.Context, b *batch, missed uint64) error {
	for {
		m.mu.Lock()
		p := m.place
		m.mu.Unlock()
		switch {
		case p.ended != nil:
			return p.ended
		case p.own >= b.nonce:
			return nil // an attempt whose answer was lost
		case p.missed != missed:
			return errDeposed // what it has missed has perhaps taken the place of what it had written
		}
		b.after, b.first, b.losses = p.mark, p.last+1, p.losses
		if err := m.put(ctx, p.pos, b); !errors.Is(err, errDeposed) {
			return err
		}
		head, err := m.headAtLast(ctx)
		if err != nil {
			return err
		}
		if !m.awaitSoon(ctx, head) {
			m.followAnew()
		} else if m.hasStayed(p) && markOf(head) != p.mark {
			return errDeposed // the store has lost messages: begin another epoch
		}
		if !pause(ctx, rand.N(20*time.Millisecond)) {
			return ctx.Err()
		}
	}
}

// openAnew is open, but does not give up before the context is done.
func (m *Member) openAnew(ctx context.Context) (epoch string) {
	for ctx.Err() == nil {
		if epoch, _, _ = m.open(ctx, true); epoch != "" {
			m.fleet.observer.TookOver(Rewound)
			break
		}
		pause(ctx, retryAfter)
	}
	return epoch
}

// hasMissed returns how often messages were missing that nobody has told of.
func (m *Member) hasMissed() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.missed
}

// hasStayed reports whether nothing was applied since then.
func (m *Member) hasStayed(then place) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mark == then.mark
}

// awaitSoon waits until the log's newest message is applied, but no longer than it should take.
func (m *Member) awaitSoon(ctx context.Context, head store.Message) bool {
	ctx, cancel := context.WithTimeout(ctx, maxBehind)
	defer cancel()
	return m.await(ctx, head)
}

// trim drops from the store what the settings no longer keep.
func (m *Member) trim(ctx context.Context) {
	before := m.tooMany(time.Now())
	if before == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, m.fleet.settings.Lease)
	defer cancel()
	if err := m.log.Trim(ctx, before); err != nil && ctx.Err() == nil {
		m.fleet.observer.Failed(m.name, err) // the next one drops this, too
	}
}
