package history

import "sort"

// Oldest returns the position of the oldest entry that the history offers.
func (l *Log) Oldest() Cursor {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.first
}

// Held returns the position of the oldest entry that the log holds, slack included.
func (l *Log) Held() Cursor {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.oldest
}

// Tail returns the position before the last replay events, or before the oldest event if the history has fewer.
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
	// Several positions have so many events after them. The last one is that of the event, after the control frames before it.
	return l.search(func(s *slot) bool { return l.visible.events-s.events < events }) - 1
}

// AfterSeq returns the position right after the last entry whose number is at most seq. If an entry with a greater number has
// left the history, or if seq is greater than all known numbers, ok is false and c is Oldest.
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

// AfterID returns the position right after the event with this id. If consecutive events have the id, it is the position after the
// first of them: the client may have seen only that one, and it is better to send an event twice than to lose it. AfterID
// also knows the id of the event right before the history, for which it returns Oldest.
//
// If ok is false, it is not known where the client was, and c is Oldest. That is so if the id is unknown, if a part of a run
// of events with the id is lost, or if there are events with other ids between two events with the id.
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

// HasID reports whether the log knows an entry with this id, in the history, in the slack or right before it.
func (l *Log) HasID(id string) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return string(l.gone.id) == id || l.heldBefore(l.visible.at, id)
}

// afterRun is AfterID if the newest entry with the id is right before c.
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

// endsAtHistory reports whether the event right before the history is the only known event with this id.
func (l *Log) endsAtHistory(id string) bool {
	return l.gone.last && l.gone.lone && string(l.gone.id) == id && !l.heldBefore(l.gone.idEnd-1, id)
}

// heldBefore reports whether an entry before c has this id. It searches the slack too, so that it finds repeated ids even if the
// history is short.
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

// runStart returns the position after the first event in a run of events with this id. The run ends at c. whole reports whether
// the run goes back to the beginning of the history, so that a part of it may have left the history.
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

// newestNamed returns the position after the newest entry before c that has an id. If the history has none, the result is not
// after the first position in the history.
func (l *Log) newestNamed(c Cursor) Cursor {
	if c <= l.first {
		return l.first
	}
	return l.at(c - 1).named
}

// Before returns the id and the number of the last entry before c that has an id, even if that entry was the last to leave the
// history. It returns "" and 0 if there is none.
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

// Number returns the number of the newest event before c, even if it has no entry. AfterSeq returns c for that number as long
// as the history holds it.
func (l *Log) Number(c Cursor) uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if c >= l.visible.at {
		return l.visible.numbered
	}
	return max(l.at(max(c, l.oldest)).seq, 1) - 1
}

// search returns the first position in the history whose published entry satisfies f, or else the end. The history must not be
// empty.
func (l *Log) search(f func(*slot) bool) Cursor {
	n := sort.Search(int(l.visible.at-l.first), func(i int) bool { return f(l.at(l.first + Cursor(i))) })
	return l.first + Cursor(n)
}
