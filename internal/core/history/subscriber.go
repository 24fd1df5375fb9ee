package history

import (
	"math"
	"sync"
	"sync/atomic"
)

// batchEntries is the most entries that NextEntries adds in one call.
const batchEntries = 256

// State is the state of a subscriber after a read.
type State uint8

const (
	// Ready: the read has returned entries.
	Ready State = iota
	// Parked: there is no new entry. The Waker will be called when there is one.
	Parked
	// Lagged: the entry at the subscriber's position is no longer held. The subscriber has been moved to Oldest. The next read
	// continues there.
	Lagged
	// Closed: everything has been read and the log is closed, or the subscriber is closed.
	Closed
)

// Waker is notified when a parked subscriber can read again.
type Waker interface {
	// Wake is called by the goroutine that publishes, at most once for each time that a read has parked the subscriber. It
	// must not block.
	Wake()
}

// Batch is the result of Next. Its bytes never change.
type Batch struct {
	Bytes  []byte // the frames of all entries taken
	LastID []byte // the id of the last of them that has one, or nil
	Events int    // the number of events among them
	State  State
	Missed uint64 // if Lagged: the number of entries that were lost, control frames included

	From, To Cursor // the positions of the first entry taken, and after the last one
	Context  []byte // the frames before Bytes in the same piece of memory, and Bytes
}

// Subscriber is a reader with its own position in a log. Only one goroutine at a time may call Next and NextEntries. Any
// goroutine may call the other methods.
type Subscriber struct {
	log      *Log
	waker    Waker
	position atomic.Uint64
	end      atomic.Uint64 // the position at which it stops
	closed   atomic.Bool

	// Its slot in the list of the parking, in this round only.
	round uint64
	slot  int
}

// Subscribe adds a subscriber that starts to read at this position, or at the live edge if that comes first. The caller must close
// it. A closed log can still be read.
func (l *Log) Subscribe(at Cursor, w Waker) *Subscriber {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subscribers++
	s := &Subscriber{log: l, waker: w}
	s.position.Store(uint64(min(at, max(l.visible.at, l.first))))
	s.end.Store(math.MaxUint64)
	return s
}

// Cursor returns the subscriber's position.
func (s *Subscriber) Cursor() Cursor { return Cursor(s.position.Load()) }

// Finish makes the subscriber stop after the entries that are published now. It then gets Closed. Finish does not wake a parked
// subscriber.
func (s *Subscriber) Finish() {
	s.log.mu.RLock()
	defer s.log.mu.RUnlock()
	s.end.Store(uint64(s.log.visible.at))
}

// Next takes the entries after the subscriber's position that are one slice in memory: at least one entry, and no more than 64 KiB
// unless that entry is larger.
func (s *Subscriber) Next() Batch {
	l := s.log
	l.mu.RLock()
	defer l.mu.RUnlock()
	position, state, missed := s.look()
	if state != Ready {
		return Batch{State: state, Missed: missed}
	}
	first := l.at(position)
	end := min(first.block.end, l.visible.at, Cursor(s.end.Load()))
	last := l.at(end - 1)
	events := last.events - first.events
	if last.event {
		events++
	}
	s.position.Store(uint64(end))
	b := Batch{
		Bytes: first.block.buf[first.from:last.to:last.to], Events: int(events),
		From: position, To: end, Context: first.block.buf[:last.to:last.to],
	}
	if last.named > position {
		b.LastID = l.at(last.named - 1).id
	}
	return b
}

// NextEntries is Next for subscribers that need the single entries. It appends at most 256 entries to dst. Their ID and Bytes
// are the log's memory, and never change.
func (s *Subscriber) NextEntries(dst []Entry) (entries []Entry, state State, missed uint64) {
	l := s.log
	l.mu.RLock()
	defer l.mu.RUnlock()
	position, state, missed := s.look()
	if state != Ready {
		return dst, state, missed
	}
	// All entries are from one block, so that the caller keeps only that one alive.
	end := min(l.at(position).block.end, l.visible.at, position+batchEntries, Cursor(s.end.Load()))
	for ; position < end; position++ {
		e := l.at(position)
		dst = append(dst, Entry{Seq: e.seq, ID: e.id, Bytes: e.block.buf[e.from:e.to:e.to], Event: e.event})
	}
	s.position.Store(uint64(end))
	return dst, Ready, 0
}

// look returns the subscriber's position and state, and parks or moves the subscriber. The log is locked for reading, so nothing
// can be published before the subscriber is parked.
func (s *Subscriber) look() (position Cursor, state State, missed uint64) {
	l := s.log
	position = Cursor(s.position.Load())
	switch {
	case s.closed.Load(), position >= Cursor(s.end.Load()):
		return position, Closed, 0
	case position >= l.visible.at && l.closed:
		return position, Closed, 0
	case position >= l.visible.at:
		l.parking.park(s)
		return position, Parked, 0
	case position < l.oldest:
		s.position.Store(uint64(l.first))
		return position, Lagged, uint64(l.first - position)
	}
	return position, Ready, 0
}

// HasLagged reports whether the entry at the subscriber's position is no longer held, so that the next read returns Lagged.
func (s *Subscriber) HasLagged() bool {
	l := s.log
	l.mu.RLock()
	defer l.mu.RUnlock()
	return Cursor(s.position.Load()) < l.oldest
}

// Behind returns the number of held events that the subscriber has not taken yet.
func (s *Subscriber) Behind() int {
	l := s.log
	l.mu.RLock()
	defer l.mu.RUnlock()
	position := max(Cursor(s.position.Load()), l.oldest)
	if position >= l.visible.at {
		return 0
	}
	return int(l.visible.events - l.at(position).events)
}

// Close removes the subscriber from the log. A concurrent Publish may still call its Waker once. Close may be called again.
func (s *Subscriber) Close() {
	if s.closed.Swap(true) {
		return
	}
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subscribers--
	l.parking.leave(s)
}

// parking holds the subscribers that wait for the next Publish. A Publish does not touch the others.
type parking struct {
	mu    sync.Mutex // needed with the log's lock for reading; not needed with the log's lock for writing
	list  []*Subscriber
	spare []*Subscriber // the list of the round before, for reuse
	// round is the number of lists so far. A subscriber is parked if its round is this one. So take need not touch ten
	// thousand subscribers while the log is locked.
	round uint64
}

func (p *parking) park(s *Subscriber) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.round == p.round+1 {
		return // it is parked already: it read again before it was woken
	}
	s.round, s.slot = p.round+1, len(p.list)
	p.list = append(p.list, s)
}

// leave removes a subscriber from the list. Otherwise, the list of a source without records would keep all subscribers that
// have come and gone.
func (p *parking) leave(s *Subscriber) {
	if s.round != p.round+1 {
		return
	}
	last := len(p.list) - 1
	p.list[s.slot] = p.list[last]
	p.list[s.slot].slot = s.slot
	p.list[last] = nil
	p.list = p.list[:last]
	s.round = 0
}

// take ends the round and returns the subscribers that were parked in it.
func (p *parking) take() []*Subscriber {
	if len(p.list) == 0 {
		return nil
	}
	list := p.list
	p.list, p.spare = p.spare, nil
	p.round++
	return list
}

// wake calls the Wakers. It holds no lock: there may be many Wakers, and the subscribers that were woken first want to read.
func (l *Log) wake(list []*Subscriber) {
	if len(list) == 0 {
		return
	}
	for i, s := range list {
		list[i] = nil
		if !s.closed.Load() {
			s.waker.Wake()
		}
	}
	if cap(list) > 1024 && cap(list) > 4*len(list) {
		return // do not keep the memory of a list that was much longer
	}
	l.mu.Lock()
	l.parking.spare = list[:0]
	l.mu.Unlock()
}
