package compress

import (
	"math/bits"
	"sync"

	"github.com/klauspost/compress/huff0"
)

// The parts of a zstd frame that are used here (RFC 8878 §3.1.1).
const (
	zstdBegin = "\x28\xb5\x2f\xfd\x00\x30" // no checksum, no size, and a window of 64 KiB (§3.1.1.1.2)
	zstdEnd   = "\x01\x00\x00"             // an empty block, the last one

	// maxBlock is the size of the largest block. With its history, it is smaller than the window and than the limit of
	// matcher.find.
	maxBlock = 32 << 10

	blockRaw        = 0
	blockCompressed = 2

	literalsRaw        = 0
	literalsCompressed = 2
)

// zstdEncoder makes zstd blocks. No block depends on an entropy table or an offset from the block before.
type zstdEncoder struct {
	matcher
	huffman huff0.Scratch
	coded   []codedSequence
}

var zstdEncoders = sync.Pool{New: func() any { return &zstdEncoder{huffman: huff0.Scratch{Reuse: huff0.ReusePolicyNone}} }}

// appendZstd is Coding.appendText for zstd.
func appendZstd(dst, src []byte, start int) []byte {
	e := zstdEncoders.Get().(*zstdEncoder)
	defer zstdEncoders.Put(e)
	for start < len(src) {
		n := min(len(src)-start, maxBlock)
		from := max(0, start-maxHistory)
		dst = e.appendBlock(dst, src[from:start+n], start-from)
		start += n
	}
	return dst
}

func (e *zstdEncoder) appendBlock(dst, src []byte, start int) []byte {
	e.find(src, start)
	const header = 3
	at := len(dst)
	dst = append(dst, 0, 0, 0)
	if len(e.sequences) > 0 || len(e.literals) >= minHuffman {
		dst = e.appendSequences(e.appendLiterals(dst))
	}
	kind, size := blockCompressed, len(dst)-at-header
	if raw := len(src) - start; size == 0 || size >= raw {
		kind, size = blockRaw, raw
		dst = append(dst[:at+header], src[start:]...)
	}
	putUint24(dst[at:], uint32(size<<3|kind<<1))
	return dst
}

func putUint24(dst []byte, v uint32) { dst[0], dst[1], dst[2] = byte(v), byte(v>>8), byte(v>>16) }

// minHuffman is the least number of literals that may be worth a Huffman table.
const minHuffman = 64

// appendLiterals appends the literals section (RFC 8878 §3.1.1.3.1).
func (e *zstdEncoder) appendLiterals(dst []byte) []byte {
	n := len(e.literals)
	if n >= minHuffman {
		compress := huff0.Compress4X
		if n < 1<<10 {
			compress = huff0.Compress1X
		}
		if out, _, err := compress(e.literals, &e.huffman); err == nil && len(out)+5 < n {
			switch packed := uint64(len(out)); {
			case n < 1<<10:
				dst = appendUint(dst, literalsCompressed|uint64(n)<<4|packed<<14, 3)
			case n < 1<<14:
				dst = appendUint(dst, literalsCompressed|2<<2|uint64(n)<<4|packed<<18, 4)
			default:
				dst = appendUint(dst, literalsCompressed|3<<2|uint64(n)<<4|packed<<22, 5)
			}
			return append(dst, out...)
		}
	}
	switch {
	case n < 1<<5:
		dst = append(dst, literalsRaw|byte(n)<<3)
	case n < 1<<12:
		dst = appendUint(dst, literalsRaw|1<<2|uint64(n)<<4, 2)
	default:
		dst = appendUint(dst, literalsRaw|3<<2|uint64(n)<<4, 3)
	}
	return append(dst, e.literals...)
}

func appendUint(dst []byte, v uint64, n int) []byte {
	for range n {
		dst = append(dst, byte(v))
		v >>= 8
	}
	return dst
}

// appendSequences appends the sequences section (RFC 8878 §3.1.1.3.2). It writes the sequences backwards, because a decoder reads
// the bits from the end.
func (e *zstdEncoder) appendSequences(dst []byte) []byte {
	n := len(e.sequences)
	switch {
	case n == 0:
		return append(dst, 0)
	case n < 1<<7:
		dst = append(dst, byte(n))
	default: // a block has fewer than 0x7f00 sequences
		dst = append(dst, byte(n>>8)+1<<7, byte(n))
	}
	e.code()
	var literals, matches, offsets [maxSymbols]int
	for _, s := range e.coded {
		literals[s.literals]++
		matches[s.match]++
		offsets[s.offset]++
	}
	at := len(dst)
	dst = append(dst, 0)
	literalTable, literalMode, dst := literalTable.fit(dst, literals[:], n, 9)
	offsetTable, offsetMode, dst := offsetTable.fit(dst, offsets[:], n, 8)
	matchTable, matchMode, dst := matchTable.fit(dst, matches[:], n, 9)
	dst[at] = literalMode<<6 | offsetMode<<4 | matchMode<<2

	w := bitWriter{out: dst}
	var literal, match, offset uint32
	for i := n - 1; i >= 0; i-- {
		s := e.coded[i]
		if i == n-1 {
			literal, match, offset = literalTable.begin(s.literals), matchTable.begin(s.match), offsetTable.begin(s.offset)
		} else {
			offset = offsetTable.encode(&w, offset, s.offset)
			match = matchTable.encode(&w, match, s.match)
			literal = literalTable.encode(&w, literal, s.literals)
			w.flush()
		}
		w.add(s.literalsRest, s.literalsBits)
		w.add(s.matchRest, s.matchBits)
		w.add(s.offsetRest, s.offset)
		w.flush()
	}
	w.add(match, matchTable.log)
	w.add(offset, offsetTable.log)
	w.add(literal, literalTable.log)
	w.close()
	return w.out
}

// codedSequence is a sequence in the codes of zstd, with their extra bits.
type codedSequence struct {
	literals, match, offset             uint8
	literalsBits, matchBits             uint8 // the number of extra bits; for an offset, it is its code
	literalsRest, matchRest, offsetRest uint32
}

const maxSymbols = 53

// code sets e.coded.
func (e *zstdEncoder) code() {
	e.coded = e.coded[:0]
	last := uint32(0)
	for _, s := range e.sequences {
		offset := s.offset + 3
		if s.offset == last && s.literals > 0 {
			offset = 1 // the offset of the sequence before, allowed only if there are literals in between
		}
		last = s.offset
		var c codedSequence
		c.literals, c.literalsRest, c.literalsBits = literalCodes.of(s.literals)
		c.match, c.matchRest, c.matchBits = matchCodes.of(s.length - 3)
		c.offset, c.offsetRest = uint8(bits.Len32(offset)-1), offset
		e.coded = append(e.coded, c)
	}
}
