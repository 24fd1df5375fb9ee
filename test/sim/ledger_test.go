package sim_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// ledger holds all records that the upstreams have sent, and the knowledge of all clients about them.
type ledger struct {
	mu    sync.Mutex
	conns []*connection
	logs  map[string]*connection // by tag and family

	generation int // the generation of the newest config

	bodies struct {
		// The last ids and their events, as hashes. There are far more of them than in all histories.
		sync.Mutex
		of   map[uint64]uint64
		ids  [1 << 18]uint64
		next int
	}
}

// connection is a connection to an upstream. An upstream that continues where it was, such as a file, has only one.
type connection struct {
	id     int
	tag    string
	family string       // the connections that one source may have are in one family
	born   int          // the generation that ran when it began
	said   atomic.Int64 // the number of the last record, set before the record is sent

	mu    sync.Mutex
	epoch string // the epoch of the source, after a client has seen it
	shift int64  // the source's number of a record minus the connection's
	marks map[int]int
	cuts  []int // the last numbers before truncations of the file, which lose unread records
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

// log returns the only connection of an upstream that continues where it was.
func (l *ledger) log(tag, family string) *connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := fmt.Sprint(len(tag), tag, family)
	if l.logs[key] == nil {
		l.logs[key] = l.connectLocked(tag, family)
	}
	return l.logs[key]
}

// say records that the next record is going to be sent.
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

// said returns the last number of a connection.
func (l *ledger) said(id int) int64 {
	if c := l.get(id); c != nil {
		return c.said.Load()
	}
	return 0
}

// between returns the connections that the source with this epoch had between two connections.
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

// numbered records that the source has given the number seq to record n.
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

// loaded records that a config was loaded. The previous config may have mapped the records sent so far.
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

// while reports whether a record may have been sent while a config ran, or while the one before or after it ran.
func (c *connection) while(generation, n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	next, come := c.marks[generation+1]
	return c.born <= generation+1 && n > c.marks[generation-1] && (!come || n <= next)
}

// after reports whether a record was sent after a config was loaded.
func (c *connection) after(generation, n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	mark, come := c.marks[generation]
	return c.born >= generation || come && n > mark
}

// cut records that all records so far may be lost for clients that have not read them.
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

// sameBody reports whether an id always has the same event.
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
