package compress

import (
	"encoding/binary"
	"math/bits"
)

const (
	minMatch = 4 // zstd could do with 3, which do not pay

	hashBits = 13
)

// sequence is a match, and the literals before it.
type sequence struct {
	literals uint32
	length   uint32
	offset   uint32
}

// matcher finds what repeats. Its memory is used again.
type matcher struct {
	table     [1 << hashBits]uint16 // the last place where four bytes with this hash were
	sequences []sequence
	literals  []byte // those of all sequences, and what is left after the last
}

func hash4(v uint32) uint32 { return v * 2654435761 >> (32 - hashBits) }

// find finds what of src[start:] repeats something before it. src is shorter than 64 KiB.
func (m *matcher) find(src []byte, start int) {
	m.sequences, m.literals = m.sequences[:0], m.literals[:0]
	const margin = 8 // what is read at a place
	end := len(src) - margin
	if end <= start {
		m.literals = append(m.literals, src[start:]...)
		return
	}
	clear(m.table[:])
	for i := range min(start, end) {
		m.table[hash4(binary.LittleEndian.Uint32(src[i:]))] = uint16(i)
	}

	offset := 0   // of the last match
	from := start // of the literals that wait
	for at := max(start, 1); at < end; {
		v := binary.LittleEndian.Uint32(src[at:])
		h := hash4(v)
		candidate := int(m.table[h])
		m.table[h] = uint16(at)
		// What has changed within a record is followed by what has not, at the same distance.
		if repeated := at - offset; offset > 0 && at > from && repeated >= 0 && binary.LittleEndian.Uint32(src[repeated:]) == v {
			candidate = repeated
		} else if candidate >= at || binary.LittleEndian.Uint32(src[candidate:]) != v {
			at += 1 + (at-from)>>6 // text that has not repeated for long seldom begins to
			continue
		}
		length := minMatch + matchLength(src[at+minMatch:], src[candidate+minMatch:])
		for candidate > 0 && at > from && src[candidate-1] == src[at-1] {
			candidate--
			at--
			length++
		}
		offset = at - candidate
		m.sequences = append(m.sequences, sequence{literals: uint32(at - from), length: uint32(length), offset: uint32(offset)})
		m.literals = append(m.literals, src[from:at]...)
		for i := at + 1; i < min(at+length, end); i++ {
			m.table[hash4(binary.LittleEndian.Uint32(src[i:]))] = uint16(i)
		}
		at += length
		from = at
	}
	m.literals = append(m.literals, src[from:]...)
}

// matchLength returns how many bytes a and b, which is the longer one, begin with alike.
func matchLength(a, b []byte) (n int) {
	for ; len(a)-n >= 8; n += 8 {
		if diff := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); diff != 0 {
			return n + bits.TrailingZeros64(diff)/8
		}
	}
	for n < len(a) && a[n] == b[n] {
		n++
	}
	return n
}
