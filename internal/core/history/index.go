package history

import "math/bits"

// index knows where the entries are in memory.
type index struct {
	ring   []slot // a power of two long; entry c lies at c & (len-1)
	oldest Cursor // the first entry held
	first  Cursor // the first entry that the history offers; the entries before it are slack
}

// slot describes an entry.
type slot struct {
	seq      uint64
	events   uint64 // events before this entry
	cost     uint64 // cost of all entries before this one
	named    Cursor // Log.named after this entry
	id       []byte
	block    *block
	from, to int // the frame in the block
	event    bool
}

func (x *index) at(c Cursor) *slot {
	return &x.ring[int(c)&(len(x.ring)-1)]
}

// resize moves the entries before end to a ring of n slots, a power of two.
func (x *index) resize(n int, end Cursor) {
	old := x.ring
	x.ring = make([]slot, n)
	for c := x.oldest; c < end; c++ {
		*x.at(c) = old[int(c)&(len(old)-1)]
	}
}

// shrink makes the ring smaller after the limits were lowered. end is the end of the log.
func (x *index) shrink(end Cursor) {
	need := max(16, 1<<bits.Len(uint(end-x.oldest)))
	if len(x.ring) > 4*need {
		x.resize(need, end)
	}
}
