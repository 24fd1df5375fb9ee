package compress

import (
	"encoding/binary"
	"hash/crc32"
	"sync"

	"github.com/klauspost/compress/flate"
)

const (
	gzipBegin  = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" // deflate, no time, unknown system (RFC 1952 §2.3)
	deflateEnd = "\x01\x00\x00\xff\xff"                     // an empty stored block, the last one (RFC 1951 §3.2.4)
)

// buffer is an io.Writer that appends to a slice.
type buffer struct{ bytes []byte }

func (b *buffer) Write(p []byte) (int, error) {
	b.bytes = append(b.bytes, p...)
	return len(p), nil
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// release returns the buffer to the pool. It drops the memory if that is larger than most.
func (b *buffer) release() {
	const most = 128 << 10
	if cap(b.bytes) > most {
		b.bytes = nil
	}
	buffers.Put(b)
}

// appendDeflate is Coding.appendText for gzip.
func appendDeflate(dst, src []byte, start int) []byte {
	out := buffers.Get().(*buffer)
	out.bytes = dst
	_ = flate.StatelessDeflate(out, src[start:], false, src[max(0, start-maxHistory):start]) // a buffer never fails
	dst, out.bytes = out.bytes, nil
	out.release()
	return dst
}

// checksum is the end of a gzip member (RFC 1952 §2.3.1).
type checksum struct {
	crc  uint32
	size uint32 // modulo 2^32
}

func (c *checksum) add(text []byte) {
	c.crc = crc32.Update(c.crc, crc32.IEEETable, text)
	c.size += uint32(len(text))
}

func (c *checksum) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, c.crc)
	return binary.LittleEndian.AppendUint32(dst, c.size)
}
