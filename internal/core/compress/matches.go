package compress

import (
	"encoding/binary"
	"math/bits"
)

const (
	// minMatch is the shortest match. A shorter one takes more than its text, unless it is as far away as the one before.
	minMatch  = 6
	minRepeat = 4

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
	table     [1 << hashBits]uint16 // the last place where minMatch bytes with this hash were
	sequences []sequence
	literals  []byte // those of all sequences, and what is left after the last
}

// hash hashes the first minMatch of eight bytes.
func hash(eight uint64) uint64 { return eight << 16 * 227718039650203 >> (64 - hashBits) }

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
	for i := range start {
		m.table[hash(binary.LittleEndian.Uint64(src[i:]))] = uint16(i)
	}

	offset := 0   // of the last match
	from := start // of the literals that wait
	for at := max(start, 1); at < end; {
		eight := binary.LittleEndian.Uint64(src[at:])
		h := hash(eight)
		candidate, length := int(m.table[h]), minMatch
		m.table[h] = uint16(at)
		// What has changed within a record is followed by what has not, at the same distance.
		if repeated := at - offset; offset > 0 && at > from && repeated >= 0 && binary.LittleEndian.Uint32(src[repeated:]) == uint32(eight) {
			candidate, length = repeated, minRepeat
		} else if candidate >= at || binary.LittleEndian.Uint64(src[candidate:])<<16 != eight<<16 {
			at += 1 + (at-from)>>6 // text that has not repeated for long seldom begins to
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
