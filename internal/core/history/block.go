package history

import "math/bits"

const (
	firstBlock = 4 << 10  // so that a quiet source is cheap
	lastBlock  = 64 << 10 // what a subscriber that is stuck in a write holds at most, but for a single larger frame
	idBlock    = 1 << 10
)

// block is a piece of memory with the frames of consecutive entries one behind
// the other, so that a run of entries is one slice. It is only ever appended
// to within its capacity: what is published in it never moves or changes.
type block struct {
	buf []byte
	end Cursor // behind the last entry in it
}

// store copies a frame to the end of the newest block, or to a new one if it
// has no room: one of twice the size, or one of its own for a large frame.
func (l *Log) store(frame []byte) (b *block, from, to int) {
	b = l.block
	if b == nil || cap(b.buf)-len(b.buf) < len(frame) {
		size := firstBlock
		if b != nil {
			size = min(2*cap(b.buf), lastBlock)
		}
		b = &block{buf: make([]byte, 0, max(size, len(frame)))}
		l.block = b
	}
	from = len(b.buf)
	b.buf = append(b.buf, frame...)
	return b, from, len(b.buf)
}

// storeID copies an id. Ids lie apart, for between the frames they would break
// the runs.
func (l *Log) storeID(id []byte) []byte {
	if len(id) == 0 {
		return nil
	}
	if cap(l.ids)-len(l.ids) < len(id) {
		l.ids = make([]byte, 0, max(idBlock, len(id)))
	}
	from := len(l.ids)
	l.ids = append(l.ids, id...)
	return l.ids[from:len(l.ids):len(l.ids)]
}

func (l *Log) at(c Cursor) *slot {
	return &l.ring[int(c)&(len(l.ring)-1)]
}

// resize moves the index to a ring of n slots, a power of two.
func (l *Log) resize(n int) {
	old := l.ring
	l.ring = make([]slot, n)
	for c := l.oldest; c < l.end.at; c++ {
		*l.at(c) = old[int(c)&(len(old)-1)]
	}
}

// shrink gives back index memory that smaller limits have freed.
func (l *Log) shrink() {
	need := max(16, 1<<bits.Len(uint(l.end.at-l.oldest)))
	if len(l.ring) > 4*need {
		l.resize(need)
	}
}
