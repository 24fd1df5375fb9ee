package records

// Budget bounds what the splitters of one upstream keep together of records whose end they have not seen. A bound on
// each record alone would let a thousand senders take a thousand times as much.
//
// A Budget and its splitters must be used by one goroutine at a time.
type Budget struct {
	size int
	held int                    // by all of them, with room that is not used
	by   map[*Splitter]struct{} // those that hold anything
	lost int
}

// NewBudget returns a budget of that many bytes. One record of the largest size that its splitter allows always fits.
func NewBudget(size int) *Budget { return &Budget{size: size} }

// TakeLost returns how many records were let go since it was last called. No splitter gives a token for them.
func (b *Budget) TakeLost() int {
	if b == nil {
		return 0
	}
	lost := b.lost
	b.lost = 0
	return lost
}

// account takes note of what a splitter keeps. If that is too much for all, room that is not used goes first, and then
// the largest record.
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

// loseLargest lets go of the largest record, and of what is still to come of it.
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
