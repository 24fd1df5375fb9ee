package history

import "math/bits"

// index holds the places of the entries in memory.
type index struct {
	ring   []slot // a power of two long; entry c lies at c & (len-1)
	oldest Cursor // first entry held
	first  Cursor // first entry that the history offers; the rest is slack
}

// slot is what the index holds about an entry.
type slot struct {
	seq      uint64
	events   uint64 // events before this entry
	cost     uint64 // cost of all entries before this one
	named    Cursor // Log.named with this entry included
	id       []byte
	block    *block
	from, to int // the frame's place in the block
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

// shrink releases memory that smaller limits have freed. end is the end of the log.
func (x *index) shrink(end Cursor) {
	need := max(16, 1<<bits.Len(uint(end-x.oldest)))
	if len(x.ring) > 4*need {
		x.resize(need, end)
	}
}
