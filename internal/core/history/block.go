package history

const (
	firstBlock = 4 << 10  // small, so that a source with few records is cheap
	lastBlock  = 64 << 10 // the most memory that a subscriber holds while its write is blocked, except for a larger frame
	idBlock    = 1 << 10
)

// block holds the frames of consecutive entries in one piece of memory, so that several entries can be read as one slice. It
// grows only within its capacity, so published frames never move or change.
type block struct {
	buf []byte
	end Cursor // the position after its last entry
}

// memory holds the copies of frames and ids.
type memory struct {
	block *block // the newest one
	ids   []byte // the newest piece for ids
}

// store copies a frame to the end of the newest block, or to a new block if it does not fit. A new block has twice the size of
// the one before, up to lastBlock. A large frame gets a block of its own.
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

// storeID copies an id. Ids are kept apart from frames, so that a run of frames stays one slice.
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
