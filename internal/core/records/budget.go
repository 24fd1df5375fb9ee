package records

// Budget limits the memory that the splitters of one upstream use together for unfinished records. With a limit for each
// splitter alone, a thousand senders could use a thousand times as much.
//
// Only one goroutine may use a Budget and its splitters at a time.
type Budget struct {
	size int
	held int                    // the capacity of all buffers
	by   map[*Splitter]struct{} // the splitters that have a buffer
	lost int
}

// NewBudget returns a budget of size bytes. One record of the largest size that a splitter allows always fits.
func NewBudget(size int) *Budget { return &Budget{size: size} }

// TakeLost returns the number of records that were dropped since its last call. Next returns no token for them.
func (b *Budget) TakeLost() int {
	if b == nil {
		return 0
	}
	lost := b.lost
	b.lost = 0
	return lost
}

// account updates the budget after a change of the splitter's buffer. If the buffers are too large together, it drops empty
// buffers first, and then the largest records.
func (b *Budget) account(s *Splitter) {
	if b == nil || cap(s.carry) == s.held {
		return
	}
	b.note(s)
	if !b.isOver(s) {
		return
	}
	for other := range b.by {
		if len(other.carry) == 0 {
			other.carry = nil
			b.note(other)
		}
	}
	for b.isOver(s) {
		b.loseLargest()
	}
}

func (b *Budget) isOver(s *Splitter) bool { return b.held > max(b.size, s.max+1) }

func (b *Budget) note(s *Splitter) {
	b.held += cap(s.carry) - s.held
	s.held = cap(s.carry)
	if s.held == 0 {
		delete(b.by, s)
		return
	}
	if b.by == nil {
		b.by = make(map[*Splitter]struct{})
	}
	b.by[s] = struct{}{}
}

// loseLargest drops the largest record. Its splitter will skip the rest of the record.
func (b *Budget) loseLargest() {
	var largest *Splitter
	for s := range b.by {
		if largest == nil || s.held > largest.held {
			largest = s
		}
	}
	largest.carry, largest.over, largest.reported = nil, true, true
	b.note(largest)
	b.lost++
}
