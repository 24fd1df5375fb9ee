package stream

import (
	"sync"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/compress"
)

// encodeIn compresses everything that is written from now on.
func (s *Stream) encodeIn(coding string) {
	if c, err := compress.Parse(coding); err == nil {
		s.encoder = compress.NewEncoder(c)
	}
}

// encoded holds buffers for compressed writes. Buffers larger than maxEncoded are not kept.
var encoded = sync.Pool{New: func() any { return new([]byte) }}

const maxEncoded = 64 << 10

// encodeAndSend writes a piece of text in the client's coding. If shared is nil, the piece is for this client alone. The lock is
// held.
func (s *Stream) encodeAndSend(shared *compress.Shared, p compress.Piece, events int, flush func() error) error {
	text := p.Text[p.Start:]
	if s.encoder == nil || len(text) == 0 || s.cut {
		return s.transmit(text, len(text), events, flush)
	}
	buffer := encoded.Get().(*[]byte)
	defer func() {
		if cap(*buffer) <= maxEncoded {
			encoded.Put(buffer)
		}
	}()
	if shared == nil {
		*buffer = s.encoder.Append((*buffer)[:0], text)
	} else {
		*buffer = s.encoder.AppendShared((*buffer)[:0], shared, p)
	}
	return s.transmit(*buffer, len(text), events, flush)
}

// endCoding writes the end of the client's coding. The lock is held.
func (s *Stream) endCoding() {
	if s.encoder != nil {
		_ = s.transmit(s.encoder.AppendEnd(nil), 0, 0, s.flush) // after a failure, there is nothing more to do
	}
}

// encodeWhole returns a complete stream in a coding.
func encodeWhole(coding string, text []byte) []byte {
	c, err := compress.Parse(coding)
	if err != nil {
		return text
	}
	e := compress.NewEncoder(c)
	return e.AppendEnd(e.Append(nil, text))
}
