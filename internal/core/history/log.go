// Package history keeps the last frames of a shared source. It is a bounded log. Each subscriber has a position of its own
// in it.
//
// A frame is stored once. All subscribers get the same bytes in memory. Append never waits for a subscriber. A subscriber that
// is behind takes many entries as one slice. If it is too far behind, it learns how many entries it has lost. The log also
// finds the position at which a client with a last event id continues.
package history

import "sync"

// controlCost is the smallest size that Limits.Size counts for an entry that is not an event. Limits.Count does not limit the
// number of such entries. Without controlCost, the slots of many small ones would take far more memory than the entries.
const controlCost = 64

// Limits are the limits of a log. The newest entry is always held, whatever its size.
type Limits struct {
	// Count is the most events that the history offers. Less than 1 means 1.
	Count int
	// Size is the most bytes of frames and ids in the history. Less than 1 means the newest entry only. The memory in
	// use stays below twice the bytes held, plus two blocks of 64 KiB, plus about 100 bytes for each entry.
	Size int
	// Slack is the number of entries that are held beyond the history, for subscribers that are already reading. Tail,
	// Oldest, AfterSeq and AfterID do not offer them. Without slack, all subscribers would lose records when one read from
	// the upstream has more records than the history keeps. Default: 0.
	Slack int
	// SlackSize is the most bytes of the history and its slack together. Less than Size means Size.
	SlackSize int
}

// Entry is one frame, and what the log needs to know about it.
type Entry struct {
	// Seq is the entry's number. Several entries may have the same number. Numbers never decrease: a lower one is replaced by
	// the newest.
	Seq uint64
	// ID is the event id that the frame sends. It is empty for comments and control frames.
	ID []byte
	// Bytes is the frame.
	Bytes []byte
	// Event reports whether the entry counts as an event. It is false for control frames.
	Event bool
}

// Cursor is a position in a log. It is the index of the next entry to read, counted from the first entry ever appended.
type Cursor uint64

// Log is a bounded log of frames. Many goroutines may use it at the same time. Entries are in the order of the calls to
// Append. Make a Log with New.
type Log struct {
	mu     sync.RWMutex
	limits Limits

	index
	visible edge // after the last published entry
	end     edge // after the last appended entry

	cost  uint64 // the size of all entries ever appended, as Limits.Size counts it
	named Cursor // the position after the newest entry with an id; 0 if there was none
	gone  gone

	memory memory
	closed bool

	subscribers int
	parking     parking
}

// edge is the end of a log, as its subscribers or its appender see it.
type edge struct {
	at       Cursor
	events   uint64 // the number of events ever appended
	seq      uint64 // the newest number, appended or noted
	numbered uint64 // the newest number of an event, appended or noted
}

// gone describes the entries that have left the history.
type gone struct {
	seq uint64 // the number of the last of them
	any bool   // there was one

	id    []byte // the id of the last of them that had one
	idSeq uint64 // its number
	idEnd Cursor // the position after it
	// last: the history begins right after it. lone: the entry with an id before it had another id.
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

// Append copies e to the end of the log. Subscribers see it after Publish. Append does nothing on a closed log.
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

// Note says that the numbers up to seq are in use, although the last of them have no entry: their records were filtered out.
// AfterSeq then knows these numbers. Note takes effect at once, or with the next Publish if entries wait for one.
func (l *Log) Note(seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note(seq)
}

// Missed says that the numbers up to seq belong to entries that are lost. AfterSeq treats these as entries that have left the
// history.
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

// Publish makes the appended entries visible and wakes each parked subscriber once. Without new entries, it does nothing.
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

// publish copies the edge field by field. It would be slower to copy the whole struct right after its fields were written.
func (l *Log) publish() {
	l.visible.at, l.visible.events = l.end.at, l.end.events
	l.visible.seq, l.visible.numbered = l.end.seq, l.end.numbered
}

// Wake wakes each parked subscriber once without a new entry. It is for signals that the log does not hold.
func (l *Log) Wake() {
	l.mu.Lock()
	parked := l.parking.take()
	l.mu.Unlock()
	l.wake(parked)
}

// Close ends the log. It publishes the appended entries and wakes the parked subscribers. Subscribers read the rest, and then
// get Closed. Close may be called again.
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

// evict drops the entries beyond the limits. A block becomes garbage as soon as neither a slot nor a subscriber's batch refers
// to it.
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

// pass records that the entry at c leaves the history.
func (g *gone) pass(s *slot, c Cursor) {
	g.seq, g.any = s.seq, true
	switch {
	case len(s.id) > 0:
		g.lone = string(g.id) != string(s.id)
		g.id, g.idSeq, g.idEnd, g.last = s.id, s.seq, c+1, true
	default: // a control frame may be a gap, which no client must miss
		g.last = false
	}
}

// Stats is the state of a log, as its subscribers see it.
type Stats struct {
	Entries     int // entries in the history, control frames included
	Events      int // events in the history
	Bytes       int // bytes held, as Limits.Size counts them
	Subscribers int
	// OldestID and NewestID are the first and the last id in the history, or empty.
	OldestID, NewestID string
	// OldestSeq is the number of the oldest entry in the history, 0 if there is none. NewestSeq is the newest number known,
	// whether or not it has an entry.
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
