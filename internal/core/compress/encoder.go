package compress

import (
	"math/bits"
)

const (
	// maxHistory is the longest history of a text. The stateless encoder for deflate takes no more.
	maxHistory = 8 << 10

	// ownHistory is how much of a client's own text is kept, as history for the next one.
	ownHistory = 4 << 10

	// minHistory is the shortest history of a shared text.
	minHistory = 256
)

// usefulHistory returns how much history a text is compressed with. The encoder reads all of it, which must not cost more than
// the text itself. A longer history would hardly help, because an event is similar to the events right before it.
func usefulHistory(text []byte) int {
	return min(max(1<<10, 8*len(text)), maxHistory)
}

// Encoder compresses the stream of one client. It is not safe for concurrent use.
type Encoder struct {
	coding Coding
	begun  bool
	sum    checksum // for gzip

	own  []byte // the end of the client's own text, if no shared text has come since
	seen int    // the length of the shared text without a break, if no text of the client's own has come since
	next uint64 // the position at which the shared text ended
}

// NewEncoder returns an encoder for a coding other than Identity.
func NewEncoder(c Coding) *Encoder { return &Encoder{coding: c} }

// Append compresses a text for this client alone, and appends it to dst.
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

// keep adds text to the client's own history.
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

// Piece is a part of a text for many clients.
type Piece struct {
	Text  []byte // Text[Start:] is the piece; Text[:Start] is the text right before it, as much as the caller has
	Start int
	From  uint64 // the position of the piece in the text
	To    uint64 // the position after it
}

// AppendShared compresses a piece of a text for many clients, and appends it to dst.
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

// AppendEnd appends the end of the stream. Nothing may be appended after it.
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
