package history

import (
	"math"
	"sync"
	"sync/atomic"
)

// batchEntries is the most entries that NextEntries adds in one call.
const batchEntries = 256

// State says what a subscriber has got, and what it can expect.
type State uint8

const (
	// Ready: there are entries.
	Ready State = iota
	// Parked: there is nothing. The Waker will be called once there is.
	Parked
	// Lagged: the subscriber's place is no longer held. The subscriber has been moved to Oldest, where the next call
	// continues.
	Lagged
	// Closed: everything has been read, and the log or the subscriber is closed.
	Closed
)

// Waker is told that a parked subscriber can read again.
type Waker interface {
	// Wake is called by the goroutine that appends, at most once each time that Next or NextEntries has parked its
	// subscriber. It must not block.
	Wake()
}

// Batch is what Next returns.
type Batch struct {
	Bytes  []byte // the frames of all entries taken; never changes
	LastID []byte // of the last of them that has an id, nil if none has; never changes
	Events int    // events among them
	State  State
	Missed uint64 // if Lagged: entries, control frames included, that were lost

	From, To Cursor // the places of the first entry taken, and behind the last
	Context  []byte // ends with Bytes; before it are the frames that precede them, as far as they lie in one piece; never changes
}

// Subscriber is a reader with its own place in a log. One goroutine at a time may call Next and NextEntries. Any goroutine
// may call the other methods.
type Subscriber struct {
	log    *Log
	waker  Waker
	place  atomic.Uint64
	end    atomic.Uint64 // where its reading ends
	closed atomic.Bool

	// its place in the parking; valid in that round only
	round uint64
	slot  int
}

// Subscribe adds a subscriber that begins to read at that place, or at the live edge if that comes first. The caller must
// close it. A subscriber of a closed log reads what is left of it.
func (l *Log) Subscribe(at Cursor, w Waker) *Subscriber {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subscribers++
	s := &Subscriber{log: l, waker: w}
	s.place.Store(uint64(min(at, max(l.visible.at, l.first))))
	s.end.Store(math.MaxUint64)
	return s
}

// Place returns where the subscriber stands.
func (s *Subscriber) Place() Cursor { return Cursor(s.place.Load()) }

// Finish makes the subscriber's reading end with what is published now. It then sees Closed. One that is parked is not
// woken.
func (s *Subscriber) Finish() {
	s.log.mu.RLock()
	defer s.log.mu.RUnlock()
	s.end.Store(uint64(s.log.visible.at))
}

// Next takes the entries from the subscriber's place to the end, as far as they are one slice in memory. It takes at least
// one entry. It takes more than 64 KiB only if that entry is larger.
func (s *Subscriber) Next() Batch {
	l := s.log
	l.mu.RLock()
	defer l.mu.RUnlock()
	place, state, missed := s.look()
	if state != Ready {
		return Batch{State: state, Missed: missed}
	}
	first := l.at(place)
	end := min(first.block.end, l.visible.at, Cursor(s.end.Load()))
	last := l.at(end - 1)
	events := last.events - first.events
	if last.event {
		events++
	}
	s.place.Store(uint64(end))
	b := Batch{
		Bytes: first.block.buf[first.from:last.to:last.to], Events: int(events),
		From: place, To: end, Context: first.block.buf[:last.to:last.to],
	}
	if last.named > place {
		b.LastID = l.at(last.named - 1).id
	}
	return b
}

// NextEntries is Next for subscribers that look into the entries. It appends at most 256 entries to dst. Their ID and Bytes
// are the log's own memory, which never changes.
func (s *Subscriber) NextEntries(dst []Entry) (entries []Entry, state State, missed uint64) {
	l := s.log
	l.mu.RLock()
	defer l.mu.RUnlock()
	place, state, missed := s.look()
	if state != Ready {
		return dst, state, missed
	}
	// They are of one block, so that the caller keeps no more than that alive.
	end := min(l.at(place).block.end, l.visible.at, place+batchEntries, Cursor(s.end.Load()))
	for ; place < end; place++ {
		e := l.at(place)
		dst = append(dst, Entry{Seq: e.seq, ID: e.id, Bytes: e.block.buf[e.from:e.to:e.to], Event: e.event})
	}
	s.place.Store(uint64(end))
	return dst, Ready, 0
}

// look returns where the subscriber stands, and parks or moves it. The log is locked for reading, so that nothing can be
// published between the look and the parking.
func (s *Subscriber) look() (place Cursor, state State, missed uint64) {
	l := s.log
	place = Cursor(s.place.Load())
	switch {
	case s.closed.Load(), place >= Cursor(s.end.Load()):
		return place, Closed, 0
	case place >= l.visible.at && l.closed:
		return place, Closed, 0
	case place >= l.visible.at:
		l.parking.park(s)
		return place, Parked, 0
	case place < l.oldest:
		s.place.Store(uint64(l.first))
		return place, Lagged, uint64(l.first - place)
	}
	return place, Ready, 0
}

// HasLagged reports whether the subscriber's place is no longer held, so that the next call of Next returns Lagged.
func (s *Subscriber) HasLagged() bool {
	l := s.log
	l.mu.RLock()
	defer l.mu.RUnlock()
	return Cursor(s.place.Load()) < l.oldest
}

// Behind returns the number of events that the subscriber has not taken yet, as far as they are still held.
func (s *Subscriber) Behind() int {
	l := s.log
	l.mu.RLock()
	defer l.mu.RUnlock()
	place := max(Cursor(s.place.Load()), l.oldest)
	if place >= l.visible.at {
		return 0
	}
	return int(l.visible.events - l.at(place).events)
}

// Close removes the subscriber from the log. A Publish that runs at the same time may still call its Waker once. Close may
// be called again.
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

// parking holds the subscribers that wait for the next Publish. A Publish does not touch those that are awake.
type parking struct {
	mu    sync.Mutex // held under the log's lock for reading; those who hold that for writing need it not
	list  []*Subscriber
	spare []*Subscriber // the list of the round before, for reuse
	// round counts the lists. A subscriber is parked if its round is this one:
	// so ten thousand need not be touched, one by one, while the log is locked.
	round uint64
}

func (p *parking) park(s *Subscriber) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.round == p.round+1 {
		return // it looked again before it was woken
	}
	s.round, s.slot = p.round+1, len(p.list)
	p.list = append(p.list, s)
}

// leave removes a subscriber from the list. Otherwise, a quiet source would collect all subscribers that ever came and
// went.
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

// take ends the round, and returns the subscribers that were parked in it.
func (p *parking) take() []*Subscriber {
	if len(p.list) == 0 {
		return nil
	}
	list := p.list
	p.list, p.spare = p.spare, nil
	p.round++
	return list
}

// wake calls the Wakers. It holds no lock, since there are many of them, and those that are awake already want to read.
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
		return // the crowd has left
	}
	l.mu.Lock()
	l.parking.spare = list[:0]
	l.mu.Unlock()
}
