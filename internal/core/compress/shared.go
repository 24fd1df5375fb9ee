package compress

import (
	"bytes"
	"slices"
	"sync"
)

// Shared compresses a text for many clients. It compresses a piece once for all clients with the same history. The zero value is
// ready to use. It is safe for concurrent use.
type Shared struct {
	mu     sync.Mutex
	pieces []*compressedPiece // the last ones, from the oldest to the newest
	size   int                // the size of their texts
}

// The number of pieces that a Shared keeps for the next clients, and the size of their texts. Clients that are served in the same
// round need few different pieces. A client that is behind needs a piece of its own.
const (
	maxPieces     = 32
	maxPiecesSize = 256 << 10
)

// compressedPiece is a piece of the text for clients with a history of this length.
type compressedPiece struct {
	coding   Coding
	from, to uint64
	history  int

	size int // the size of its text
	once sync.Once
	out  []byte
}

// compressed returns the blocks of a piece. The caller must not change them.
func (s *Shared) compressed(coding Coding, p Piece, history int) []byte {
	c := s.piece(coding, p, history)
	c.once.Do(func() {
		scratch := buffers.Get().(*buffer)
		scratch.bytes = coding.appendText(scratch.bytes[:0], p.Text[p.Start-history:], history)
		c.out = bytes.Clone(scratch.bytes)
		scratch.release()
	})
	return c.out
}

// piece returns the piece if it is kept already. Otherwise it adds the piece.
func (s *Shared) piece(coding Coding, p Piece, history int) *compressedPiece {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.pieces) - 1; i >= 0; i-- {
		if c := s.pieces[i]; c.from == p.From && c.to == p.To && c.coding == coding && c.history == history {
			return c
		}
	}
	c := &compressedPiece{coding: coding, from: p.From, to: p.To, history: history, size: len(p.Text) - p.Start}
	s.size += c.size
	drop := 0
	for drop < len(s.pieces) && (len(s.pieces)-drop >= maxPieces || s.size > maxPiecesSize) {
		s.size -= s.pieces[drop].size
		drop++
	}
	s.pieces = append(slices.Delete(s.pieces, 0, drop), c)
	return c
}
