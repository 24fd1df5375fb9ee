package history

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

// memory is where a log copies frames and ids to.
type memory struct {
	block *block // the newest one
	ids   []byte // the newest piece for ids
}

// store copies a frame to the end of the newest block, or to a new one if it
// has no room: one of twice the size, or one of its own for a large frame.
func (m *memory) store(frame []byte) (b *block, from, to int) {
	b = m.block
	if b == nil || cap(b.buf)-len(b.buf) < len(frame) {
		size := firstBlock
		if b != nil {
			size = min(2*cap(b.buf), lastBlock)
		}
		b = &block{buf: make([]byte, 0, max(size, len(frame)))}
		m.block = b
	}
	from = len(b.buf)
	b.buf = append(b.buf, frame...)
	return b, from, len(b.buf)
}

// storeID copies an id. Ids lie apart, for between the frames they would break
// the runs.
func (m *memory) storeID(id []byte) []byte {
	if len(id) == 0 {
		return nil
	}
	if cap(m.ids)-len(m.ids) < len(id) {
		m.ids = make([]byte, 0, max(idBlock, len(id)))
	}
	from := len(m.ids)
	m.ids = append(m.ids, id...)
	return m.ids[from:len(m.ids):len(m.ids)]
}
