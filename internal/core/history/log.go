// Package history is the heart of sharing: a bounded log of encoded frames in
// which every subscriber has a place.
//
// A frame is stored once and its bytes are handed to all subscribers as they
// lie in memory. Appending never waits for a subscriber: one that is behind
// takes all it has missed as one slice, and one that is too far behind is told
// how much it has lost. The same log answers where a client that names its
// last event id goes on. It knows neither HTTP nor Caddy, nor who appends.
package history

import "sync"

// controlCost is the least that an entry which is no event counts for in
// Limits.Size. Such entries are not bounded by Limits.Count, and a flood of
// three-byte comments would else be held by their far larger index.
const controlCost = 64

// Limits bounds what a log holds. The newest entry is held whatever its size.
type Limits struct {
	// Count is how many events the history offers at most; less than 1 means 1.
	Count int
	// Size is how many bytes of frames and ids the history has at most; less
	// than 1 means the newest entry only. Memory stays below twice what is
	// held, plus two blocks of 64 KiB and about 100 bytes per entry.
	Size int
	// Slack is how many entries beyond the history are held for subscribers
	// that are on their way. Tail, Oldest, AfterSeq and AfterID do not offer
	// them. Without it a burst of more records in one read than the history
	// keeps would be lost to every subscriber, however fast. Default 0.
	Slack int
	// SlackSize is how many bytes the history and its slack have at most, if
	// that is more than Size.
	SlackSize int
}

// Entry is one frame and what the log must know of it.
type Entry struct {
	// Seq is the number that the appender gives. It never falls (a lower one
	// is taken as the newest), and several entries may share one.
	Seq uint64
	// ID is the event id as on the wire; empty for comments and control frames.
	ID []byte
	// Bytes is the frame.
	Bytes []byte
	// Event says that the entry counts as an event. False for control frames.
	Event bool
}

// Cursor is a place in a log: the index of the next entry to read, counted
// from the first that was ever appended.
type Cursor uint64

// Log is a bounded log of frames. All methods may be called from any
// goroutine; entries lie in the order of the calls to Append. Make one with New.
type Log struct {
	mu     sync.RWMutex
	limits Limits

	index
	visible edge // of what is published
	end     edge // of what is appended

	cost  uint64 // what all entries ever appended count for in Limits.Size
	named Cursor // end of the newest entry with an id; 0 if there was none
	gone  gone

	memory memory
	closed bool

	subscribers int
	parking     parking
}

// edge is the end of a log, as its subscribers or its appender see it.
type edge struct {
	at       Cursor
	events   uint64 // events there have ever been
	seq      uint64 // newest number appended or noted
	numbered uint64 // newest number of an event appended or noted
}

// gone is what is still known of the entries before the history's first.
type gone struct {
	seq uint64 // of the last entry
	any bool   // there was one

	id    []byte // of the last entry that had one
	idSeq uint64
	idEnd Cursor
	// last: nothing came after it, so that the history begins right behind it;
	// lone: the entry with an id before it had another.
	last, lone bool
}

// New returns an empty log.
func New(limits Limits) *Log {
	l := &Log{}
	l.limits = limits.sane()
	return l
}

func (l Limits) sane() Limits {
	size := max(l.Size, 1)
	return Limits{Count: max(l.Count, 1), Size: size, Slack: max(l.Slack, 0), SlackSize: max(l.SlackSize, size)}
}

// SetLimits changes the limits at once.
func (l *Log) SetLimits(limits Limits) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limits = limits.sane()
	l.evict()
	l.shrink(l.end.at)
}

// Append copies e to the end of the log. Nobody sees it before Publish. An
// append to a closed log is ignored.
func (l *Log) Append(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	if int(l.end.at-l.oldest) == len(l.ring) {
		l.resize(max(16, 2*len(l.ring)), l.end.at)
	}
	l.end.seq = max(l.end.seq, e.Seq)
	if len(e.ID) > 0 {
		l.named = l.end.at + 1
	}
	s := l.at(l.end.at)
	s.seq, s.events, s.cost, s.named, s.event = l.end.seq, l.end.events, l.cost, l.named, e.Event
	s.id = l.memory.storeID(e.ID)
	s.block, s.from, s.to = l.memory.store(e.Bytes)
	l.end.at++
	s.block.end = l.end.at

	cost := len(e.Bytes) + len(e.ID)
	if e.Event {
		l.end.numbered = l.end.seq
		l.end.events++
	} else {
		cost = max(cost, controlCost)
	}
	l.cost += uint64(cost)
	l.evict()
}

// Note records that the numbers up to seq were given, though the last of them
// have no entry (their records were filtered). AfterSeq then knows them. It
// takes effect at once, or with the next Publish if entries wait for one.
func (l *Log) Note(seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note(seq)
}

// Missed records that the numbers up to seq were given to entries that are no
// longer there: AfterSeq treats them like those that have left the history.
func (l *Log) Missed(seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone.seq, l.gone.any = max(l.gone.seq, seq), true
	l.note(seq)
}

func (l *Log) note(seq uint64) {
	l.end.seq, l.end.numbered = max(l.end.seq, seq), max(l.end.numbered, seq)
	if l.visible.at == l.end.at {
		l.visible = l.end
	}
}

// Publish makes visible what was appended and wakes every parked subscriber
// once. It does nothing if nothing was appended.
func (l *Log) Publish() {
	l.mu.Lock()
	if l.visible.at == l.end.at {
		l.mu.Unlock()
		return
	}
	l.publish()
	parked := l.parking.take()
	l.mu.Unlock()
	l.wake(parked)
}

// publish copies the edge field by field. A copy of it as a whole would be slower right after its fields were written.
func (l *Log) publish() {
	l.visible.at, l.visible.events = l.end.at, l.end.events
	l.visible.seq, l.visible.numbered = l.end.seq, l.end.numbered
}

// Wake wakes every parked subscriber once, though there is nothing new in the
// log: for what is too fleeting to be kept.
func (l *Log) Wake() {
	l.mu.Lock()
	parked := l.parking.take()
	l.mu.Unlock()
	l.wake(parked)
}

// Close ends the log: what was appended is published, subscribers read what is
// left and then see Closed. All that are parked are woken. Idempotent.
func (l *Log) Close() {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.closed = true
	l.publish()
	parked := l.parking.take()
	l.mu.Unlock()
	l.wake(parked)
}

// evict lets go of what is beyond the limits. A block is garbage as soon as
// neither a slot nor a reader's batch refers to it.
func (l *Log) evict() {
	for l.first+1 < l.end.at {
		s := l.at(l.first)
		if l.end.events-s.events <= uint64(l.limits.Count) && l.cost-s.cost <= uint64(l.limits.Size) {
			break
		}
		l.gone.pass(s, l.first)
		l.first++
	}
	for l.oldest < l.first {
		s := l.at(l.oldest)
		if l.first-l.oldest <= Cursor(l.limits.Slack) && l.cost-s.cost <= uint64(l.limits.SlackSize) {
			break
		}
		*s = slot{}
		l.oldest++
	}
}

// pass takes in that the entry at c has left the history.
func (g *gone) pass(s *slot, c Cursor) {
	g.seq, g.any = s.seq, true
	switch {
	case len(s.id) > 0:
		g.lone = string(g.id) != string(s.id)
		g.id, g.idSeq, g.idEnd, g.last = s.id, s.seq, c+1, true
	default: // a control frame may be a gap, which nobody is to miss
		g.last = false
	}
}

// Stats is the state of a log as its subscribers see it.
type Stats struct {
	Entries     int // in the history, control frames included
	Events      int // in the history
	Bytes       int // held, as counted by Limits.Size
	Subscribers int
	// ids of the oldest and the newest entry in the history that has one
	OldestID, NewestID string
	// OldestSeq is that of the oldest entry in the history, 0 if it is empty;
	// NewestSeq the newest number known, whether or not it has an entry.
	OldestSeq, NewestSeq uint64
}

// Stats returns the log's state.
func (l *Log) Stats() Stats {
	l.mu.RLock()
	defer l.mu.RUnlock()
	st := Stats{Subscribers: l.subscribers, NewestSeq: l.visible.seq}
	if l.oldest < l.end.at {
		st.Bytes = int(l.cost - l.at(l.oldest).cost)
	}
	if l.first >= l.visible.at {
		return st
	}
	st.Entries = int(l.visible.at - l.first)
	st.Events = int(l.visible.events - l.at(l.first).events)
	st.OldestSeq = l.at(l.first).seq
	newest := l.at(l.visible.at - 1).named
	if newest <= l.first {
		return st
	}
	st.NewestID = string(l.at(newest - 1).id)
	oldest := l.search(func(s *slot) bool { return s.named > l.first })
	st.OldestID = string(l.at(oldest).id)
	return st
}
