package history

import "sort"

// Oldest returns the place of the oldest entry that the history offers.
func (l *Log) Oldest() Cursor {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.first
}

// Held returns the place of the oldest entry that is held, slack included.
func (l *Log) Held() Cursor {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.oldest
}

// Tail returns the place that lies replay events before the live edge, or that of the oldest event if the history has
// fewer.
func (l *Log) Tail(replay int) Cursor {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if replay <= 0 || l.first >= l.visible.at {
		return l.visible.at
	}
	events := l.visible.events - l.at(l.first).events
	if events == 0 {
		return l.visible.at
	}
	events = min(events, uint64(replay))
	// The last place with that many events after it is the event itself, not a control frame before it.
	return l.search(func(s *slot) bool { return l.visible.events-s.events < events }) - 1
}

// AfterSeq returns the place right after the last entry whose number is at most seq. If an entry with a greater number has
// left the history, or if no number as great as seq is known, ok is false and c is Oldest.
func (l *Log) AfterSeq(seq uint64) (c Cursor, ok bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if seq > l.visible.seq || l.gone.any && l.gone.seq > seq {
		return l.first, false
	}
	if l.first >= l.visible.at {
		return l.first, true
	}
	return l.search(func(s *slot) bool { return s.seq > seq }), true
}

// AfterID returns the place right after the entry with that id. If consecutive events have the same id, it is the place
// after the first of them: the client may have seen no more, and to get an event twice is better than to lose it. The id of
// the event right before the history is known, too; c is Oldest then. ok is false and c is Oldest if the id is not known,
// if a part of such a run is lost, or if events with other ids lie between those with this one, so that it is not known
// which of them the client has seen.
func (l *Log) AfterID(id string) (c Cursor, ok bool) {
	if id == "" {
		return l.Oldest(), false
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	for c = l.newestNamed(l.visible.at); c > l.first; c = l.newestNamed(c - 1) {
		if string(l.at(c-1).id) == id {
			return l.afterRun(c, id)
		}
	}
	return l.first, l.endsAtHistory(id)
}

// HasID reports whether an entry has or had that id, as far as the log goes back.
func (l *Log) HasID(id string) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return string(l.gone.id) == id || l.heldBefore(l.visible.at, id)
}

// afterRun is AfterID for the newest entry with that id, which ends at c.
func (l *Log) afterRun(c Cursor, id string) (Cursor, bool) {
	c, whole := l.runStart(c, id)
	for other := l.newestNamed(c - 1); other > l.first; other = l.newestNamed(other - 1) {
		if string(l.at(other-1).id) == id {
			return l.first, false
		}
	}
	if string(l.gone.id) == id {
		return l.first, whole && l.endsAtHistory(id)
	}
	if l.heldBefore(l.first, id) {
		return l.first, false
	}
	return c, true
}

// endsAtHistory reports whether the only event that is known to have had that id is right before the history.
func (l *Log) endsAtHistory(id string) bool {
	return l.gone.last && l.gone.lone && string(l.gone.id) == id && !l.heldBefore(l.gone.idEnd-1, id)
}

// heldBefore reports whether an entry before c has that id, as far as the log goes back. The log goes back further than the
// history, so that ids that repeat are found even if the history is short.
func (l *Log) heldBefore(c Cursor, id string) bool {
	for c > l.oldest {
		c = l.at(c - 1).named
		if c <= l.oldest {
			return false
		}
		if c--; string(l.at(c).id) == id {
			return true
		}
	}
	return false
}

// runStart returns the place after the first of the consecutive events with
// that id, the last of which ends at c. It is whole if there is no other event
// before it in the history.
func (l *Log) runStart(c Cursor, id string) (start Cursor, whole bool) {
	for i := c - 1; i > l.first; i-- {
		switch s := l.at(i - 1); {
		case string(s.id) == id:
			c = i
		case s.event || len(s.id) > 0:
			return c, false
		}
	}
	return c, true
}

// newestNamed returns the end of the newest entry before c that has an id, or
// at most the history's first place if there is none in it.
func (l *Log) newestNamed(c Cursor) Cursor {
	if c <= l.first {
		return l.first
	}
	return l.at(c - 1).named
}

// Before returns the id and the number of the last entry before c that has an id, even if it has just left the log. It
// returns "" and 0 if there is none.
func (l *Log) Before(c Cursor) (id string, seq uint64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	c = min(c, l.visible.at)
	if c > l.oldest {
		if named := l.at(c - 1).named; named > l.oldest {
			s := l.at(named - 1)
			return string(s.id), s.seq
		}
	}
	if l.gone.idEnd > 0 && l.gone.idEnd <= c {
		return string(l.gone.id), l.gone.idSeq
	}
	return "", 0
}

// Number returns the number of the newest event before c, whether or not it has an entry. AfterSeq of that number is c, as
// long as the history holds it.
func (l *Log) Number(c Cursor) uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if c >= l.visible.at {
		return l.visible.numbered
	}
	return max(l.at(max(c, l.oldest)).seq, 1) - 1
}

// search returns the first published place of the history whose entry satisfies f, or else the end. The history must not be
// empty.
func (l *Log) search(f func(*slot) bool) Cursor {
	n := sort.Search(int(l.visible.at-l.first), func(i int) bool { return f(l.at(l.first + Cursor(i))) })
	return l.first + Cursor(n)
}
