package compress

import (
	"bytes"
	"slices"
	"sync"
)

// Shared compresses a text that many clients get, each piece once for all that have the same history. The zero value is
// ready for use. Safe for concurrent use.
type Shared struct {
	mu     sync.Mutex
	pieces []*compressedPiece // the newest ones, the oldest first
	size   int                // of their texts
}

// How much a Shared keeps for those who come for it next. Clients that are delivered to in the same round get few
// different pieces. One that is behind gets a piece of its own.
const (
	maxPieces     = 32
	maxPiecesSize = 256 << 10
)

// compressedPiece is a piece of the text, for clients with a history of that length.
type compressedPiece struct {
	coding   Coding
	from, to uint64
	history  int

	size int // of the text
	once sync.Once
	out  []byte
}

// compressed returns a piece's blocks, which must not be changed.
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

// piece returns the piece that is kept, or keeps a new one.
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
