package records

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// highBits is set where a byte of a word is not ASCII.
const highBits = 0x8080808080808080

// asciiLen returns how many bytes at the start of p are ASCII.
func asciiLen(p []byte) int {
	le := binary.LittleEndian
	i := 0
	// Where one character is not ASCII there will be others: large steps pay
	// only after some small ones.
	for next := 32; len(p)-i >= 8; i += 8 {
		if i == next {
			i += asciiBlocks(p[i:])
			if len(p)-i < 8 {
				break
			}
		}
		if high := le.Uint64(p[i:]) & highBits; high != 0 {
			return i + bits.TrailingZeros64(high)/8
		}
	}
	for i < len(p) && p[i] < utf8.RuneSelf {
		i++
	}
	return i
}

// asciiBlocksGeneric is asciiBlocks where there is nothing faster.
func asciiBlocksGeneric(p []byte) int {
	le := binary.LittleEndian
	i := 0
	for ; len(p)-i >= 128; i += 128 {
		b := (*[128]byte)(p[i:])
		or := le.Uint64(b[0:]) | le.Uint64(b[8:]) | le.Uint64(b[16:]) | le.Uint64(b[24:])
		or2 := le.Uint64(b[32:]) | le.Uint64(b[40:]) | le.Uint64(b[48:]) | le.Uint64(b[56:])
		or3 := le.Uint64(b[64:]) | le.Uint64(b[72:]) | le.Uint64(b[80:]) | le.Uint64(b[88:])
		or4 := le.Uint64(b[96:]) | le.Uint64(b[104:]) | le.Uint64(b[112:]) | le.Uint64(b[120:])
		if (or|or2|or3|or4)&highBits != 0 {
			break
		}
	}
	return i
}

// validLen returns how many bytes at the start of p are valid UTF-8, and how
// many of the bytes after them one U+FFFD stands for: a maximal subpart of an
// ill-formed sequence, as WHATWG Encoding §8.1.1 decodes (utf8.DecodeRune
// would count single bytes). bad is 0 where p ends there, or ends in the
// middle of a character that more bytes may complete.
func validLen(p []byte) (valid, bad int) {
	i := 0
	for {
		i += asciiLen(p[i:])
		for i < len(p) && p[i] >= utf8.RuneSelf {
			// Nearly all of the world's text, without a table.
			if rest := p[i:]; len(rest) >= 3 {
				if c := rest[0]; c >= 0xC2 && c <= 0xDF && rest[1]&0xC0 == 0x80 {
					i += 2
					continue
				} else if c > 0xE0 && c < 0xF0 && c != 0xED && rest[1]&0xC0 == 0x80 && rest[2]&0xC0 == 0x80 {
					i += 3
					continue
				}
			}
			r, size := utf8.DecodeRune(p[i:])
			if r == utf8.RuneError && size == 1 {
				return i, subpartLen(p[i:])
			}
			i += size
		}
		if i == len(p) {
			return i, 0
		}
	}
}

// subpartLen returns the length of the maximal subpart that the ill-formed p
// starts with, 0 if p is only incomplete.
func subpartLen(p []byte) int {
	if !utf8.FullRune(p) {
		return 0
	}
	n := 1
	for !utf8.FullRune(p[:n]) {
		n++
	}
	return max(n-1, 1)
}

// cut returns at most n bytes of the valid UTF-8 text, ending at a
// character's end.
func cut(text []byte, n int) []byte {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
