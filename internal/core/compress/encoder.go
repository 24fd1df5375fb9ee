package compress

import (
	"math/bits"
)

const (
	// maxHistory is the longest history of a text. Deflate's stateless encoder takes no more.
	maxHistory = 8 << 10

	// ownHistory is how much of a client's own text is kept as the history of the next.
	ownHistory = 4 << 10

	// minHistory is the shortest history of a shared text.
	minHistory = 256
)

// usefulHistory returns how much of its history a text is compressed with. The encoder has to look at all of it, which is to
// cost no more than the text itself does. Events are like those just before, so more would hardly make them smaller.
func usefulHistory(text []byte) int {
	return min(max(1<<10, 8*len(text)), maxHistory)
}

// Encoder makes one client's stream. Not safe for concurrent use.
type Encoder struct {
	coding Coding
	begun  bool
	sum    checksum // for gzip

	own  []byte // the last of the client's own text, if no shared text has come since
	seen int    // the length of the shared text that came last, if no text of its own has come since
	next uint64 // the place where that ended
}

// NewEncoder returns an encoder for a coding other than Identity.
func NewEncoder(c Coding) *Encoder { return &Encoder{coding: c} }

// Append compresses a text that only this client gets, and appends it to dst.
func (e *Encoder) Append(dst, text []byte) []byte {
	dst = e.begin(dst)
	if len(text) == 0 {
		return dst
	}
	e.add(text)
	e.seen = 0
	with := buffers.Get().(*buffer)
	defer with.release()
	history := e.own[max(0, len(e.own)-usefulHistory(text)):]
	with.bytes = append(append(with.bytes[:0], history...), text...)
	dst = e.coding.appendText(dst, with.bytes, len(history))
	e.keep(text)
	return dst
}

// keep makes text the end of the client's own history.
func (e *Encoder) keep(text []byte) {
	if len(text) >= ownHistory {
		e.own = append(e.own[:0], text[len(text)-ownHistory:]...)
		return
	}
	if excess := len(e.own) + len(text) - ownHistory; excess > 0 {
		e.own = e.own[:copy(e.own, e.own[excess:])]
	}
	e.own = append(e.own, text...)
}

// Piece is a part of a text that many clients get.
type Piece struct {
	Text  []byte // the piece from Start on, and before it what precedes it in the text, as far as that is at hand
	Start int
	From  uint64 // the piece's place in the text
	To    uint64 // the place behind it
}

// AppendShared compresses a piece of a text that others get too, and appends it to dst.
func (e *Encoder) AppendShared(dst []byte, s *Shared, p Piece) []byte {
	if e.next != p.From {
		e.seen = 0
	}
	text := p.Text[p.Start:]
	history := min(e.seen, p.Start, usefulHistory(text))
	if history < minHistory {
		history = 0
	} else {
		history = 1 << (bits.Len(uint(history)) - 1)
	}
	e.add(text)
	e.own, e.seen, e.next = nil, e.seen+len(text), p.To
	return append(e.begin(dst), s.compressed(e.coding, p, history)...)
}

// AppendEnd appends the end of the stream. Nothing may follow.
func (e *Encoder) AppendEnd(dst []byte) []byte {
	dst = e.begin(dst)
	if e.coding == Gzip {
		return e.sum.append(append(dst, deflateEnd...))
	}
	return append(dst, zstdEnd...)
}

func (e *Encoder) begin(dst []byte) []byte {
	if e.begun {
		return dst
	}
	e.begun = true
	return e.coding.appendBegin(dst)
}

func (e *Encoder) add(text []byte) {
	if e.coding == Gzip {
		e.sum.add(text)
	}
}
