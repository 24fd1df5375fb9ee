package compress

import (
	"encoding/binary"
	"math/bits"
)

const (
	// minMatch is the shortest match. A shorter match costs more than its text, unless it has the distance of the one before:
	// then minRepeat is the shortest.
	minMatch  = 6
	minRepeat = 4

	hashBits = 13
)

// sequence is a match with the literals before it.
type sequence struct {
	literals uint32 // the number of literals
	length   uint32 // of the match
	offset   uint32 // how far back the match is
}

// matcher finds repetitions. Its memory is reused.
type matcher struct {
	table     [1 << hashBits]uint16 // the last index of minMatch bytes with this hash
	sequences []sequence
	literals  []byte // the literals of all sequences, and those after the last sequence
}

// hash hashes the first minMatch of eight bytes.
func hash(eight uint64) uint64 { return eight << 16 * 227718039650203 >> (64 - hashBits) }

// find finds the parts of src[start:] that repeat something before them. src is shorter than 64 KiB.
func (m *matcher) find(src []byte, start int) {
	m.sequences, m.literals = m.sequences[:0], m.literals[:0]
	const margin = 8 // bytes are read at each index
	end := len(src) - margin
	if end <= start {
		m.literals = append(m.literals, src[start:]...)
		return
	}
	clear(m.table[:])
	for i := range start {
		m.table[hash(binary.LittleEndian.Uint64(src[i:]))] = uint16(i)
	}

	offset := 0   // of the last match
	from := start // the first literal that is not in a sequence yet
	for at := max(start, 1); at < end; {
		eight := binary.LittleEndian.Uint64(src[at:])
		h := hash(eight)
		candidate, length := int(m.table[h]), minMatch
		m.table[h] = uint16(at)
		// After a part of a record that has changed comes one that has not, often at the same distance.
		if repeated := at - offset; offset > 0 && at > from && repeated >= 0 && binary.LittleEndian.Uint32(src[repeated:]) == uint32(eight) {
			candidate, length = repeated, minRepeat
		} else if candidate >= at || binary.LittleEndian.Uint64(src[candidate:])<<16 != eight<<16 {
			at += 1 + (at-from)>>6 // text without repetitions for a while seldom has them
			continue
		}
		length += matchLength(src[at+length:], src[candidate+length:])
		for candidate > 0 && at > from && src[candidate-1] == src[at-1] {
			candidate--
			at--
			length++
		}
		offset = at - candidate
		m.sequences = append(m.sequences, sequence{literals: uint32(at - from), length: uint32(length), offset: uint32(offset)})
		m.literals = append(m.literals, src[from:at]...)
		for i := at + 1; i < min(at+length, end); i++ {
			m.table[hash(binary.LittleEndian.Uint64(src[i:]))] = uint16(i)
		}
		at += length
		from = at
	}
	m.literals = append(m.literals, src[from:]...)
}

// matchLength returns the length of the common prefix of a and b. b is not shorter than a.
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
