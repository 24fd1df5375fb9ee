package sim_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// ledger is what the upstreams have said, and what all clients together know of it.
type ledger struct {
	mu    sync.Mutex
	conns []*connection
	logs  map[string]*connection // by tag and family

	generation int // the newest config that has come

	bodies struct {
		// What the last ids stood for, as hashes: far more of them than all histories have.
		sync.Mutex
		of   map[uint64]uint64
		ids  [1 << 18]uint64
		next int
	}
}

// connection is one to an upstream. What goes on where it was, such as a file, is one for ever.
type connection struct {
	id     int
	tag    string
	family string       // of those that one source might have
	born   int          // the config that ran when it began
	said   atomic.Int64 // the last number, noted before it is said

	mu    sync.Mutex
	epoch string // of the source, once a client has seen it
	shift int64  // how much greater than its own number the source's is
	marks map[int]int
	cuts  []int // the last numbers before the file was cut, and what had not been read was lost
}

func newLedger() *ledger {
	l := &ledger{logs: make(map[string]*connection)}
	l.bodies.of = make(map[uint64]uint64)
	return l
}

func (l *ledger) connect(tag, family string) *connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.connectLocked(tag, family)
}

func (l *ledger) connectLocked(tag, family string) *connection {
	c := &connection{id: len(l.conns) + 1, tag: tag, family: family, born: l.generation}
	l.conns = append(l.conns, c)
	return c
}

// log is the one connection that an upstream of that kind has.
func (l *ledger) log(tag, family string) *connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := fmt.Sprint(len(tag), tag, family)
	if l.logs[key] == nil {
		l.logs[key] = l.connectLocked(tag, family)
	}
	return l.logs[key]
}

// say notes that a record is going to be said.
func (c *connection) say(n int) {
	for {
		said := c.said.Load()
		if int64(n) <= said || c.said.CompareAndSwap(said, int64(n)) {
			return
		}
	}
}

func (l *ledger) get(id int) *connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id < 1 || id > len(l.conns) {
		return nil
	}
	return l.conns[id-1]
}

// said is the last number of a connection.
func (l *ledger) said(id int) int64 {
	if c := l.get(id); c != nil {
		return c.said.Load()
	}
	return 0
}

// between are the connections that the source of that epoch has had after one and before another.
func (l *ledger) between(first, last int, epoch string) (found []*connection) {
	l.mu.Lock()
	conns := slices.Clone(l.conns[first : last-1])
	l.mu.Unlock()
	for _, c := range conns {
		c.mu.Lock()
		if c.epoch == epoch && epoch != "" {
			found = append(found, c)
		}
		c.mu.Unlock()
	}
	return found
}

// numbered notes that the source has given number seq to the record n.
func (c *connection) numbered(epoch string, seq uint64, n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	shift := int64(seq) - int64(n)
	if c.epoch == "" {
		c.epoch, c.shift = epoch, shift
	}
	if c.epoch != epoch {
		return fmt.Errorf("record %d of connection %d is of epoch %s; others were of %s", n, c.id, epoch, c.epoch)
	}
	if c.shift != shift {
		return fmt.Errorf("record %d of connection %d has number %d, not %d as those before and after it say", n, c.id, seq, int64(n)+c.shift)
	}
	return nil
}

// loaded notes that a config has come: what has been said up to now may have been mapped by the one before.
func (l *ledger) loaded(generation int) {
	l.mu.Lock()
	l.generation = generation
	conns := slices.Concat(slices.Collect(maps.Values(l.logs)), l.conns[max(0, len(l.conns)-500):])
	l.mu.Unlock()
	for _, c := range conns {
		c.mu.Lock()
		if c.marks == nil {
			c.marks = make(map[int]int)
		}
		c.marks[generation] = int(c.said.Load())
		delete(c.marks, generation-20)
		c.mu.Unlock()
	}
}

// while tells that a record may have been said while a config ran, or the one before or after it.
func (c *connection) while(generation, n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	next, come := c.marks[generation+1]
	return c.born <= generation+1 && n > c.marks[generation-1] && (!come || n <= next)
}

// after tells that a record was said after a config had come.
func (c *connection) after(generation, n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	mark, come := c.marks[generation]
	return c.born >= generation || come && n > mark
}

// cut notes that all up to there may be lost to whoever has not read it.
func (c *connection) cut(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cuts = append(c.cuts, n)
}

func (c *connection) cutsFrom(n int) []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, _ := slices.BinarySearch(c.cuts, n)
	return slices.Clone(c.cuts[i:])
}

// sameBody checks that an id has the same event wherever it comes.
func (l *ledger) sameBody(id, body uint64) bool {
	l.bodies.Lock()
	defer l.bodies.Unlock()
	if known, ok := l.bodies.of[id]; ok {
		return known == body
	}
	delete(l.bodies.of, l.bodies.ids[l.bodies.next])
	l.bodies.ids[l.bodies.next], l.bodies.of[id] = id, body
	l.bodies.next = (l.bodies.next + 1) % len(l.bodies.ids)
	return true
}
