package compress

import "math/bits"

// codes maps lengths to codes with extra bits (RFC 8878 §3.1.1.3.2.1.1).
type codes struct {
	small    int // a length below it is its own code
	baseline []uint32
	extra    []uint8
}

var (
	literalCodes = codes{
		small:    16,
		baseline: []uint32{16, 18, 20, 22, 24, 28, 32, 40, 48, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536},
		extra:    []uint8{1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
	}
	matchCodes = codes{ // for the length of a match minus 3
		small:    32,
		baseline: []uint32{32, 34, 36, 38, 40, 44, 48, 56, 64, 80, 96, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536},
		extra:    []uint8{1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
	}
)

// of returns the code for a length, its extra bits, and their number.
func (c *codes) of(length uint32) (code uint8, extra uint32, n uint8) {
	if length < uint32(c.small) {
		return uint8(length), 0, 0
	}
	i := len(c.baseline) - 1
	for c.baseline[i] > length {
		i--
	}
	return uint8(c.small + i), length - c.baseline[i], c.extra[i]
}

// fseTable encodes the symbols of one distribution with finite state entropy (RFC 8878 §4.1).
type fseTable struct {
	log     uint8
	next    []uint16
	symbols []fseSymbol
}

type fseSymbol struct {
	bits  uint32 // added to a state, its high 16 bits are the number of bits to write
	state int32  // added to the rest of a state, it is the index in next
}

// The default distributions of zstd (RFC 8878 §3.1.1.3.2.2).
var (
	literalTable = newFSETable(6, []int16{
		4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1,
		2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1,
		-1, -1, -1, -1,
	})
	matchTable = newFSETable(6, []int16{
		1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1,
		1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
		1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1,
		-1, -1, -1, -1, -1,
	})
	offsetTable = newFSETable(5, []int16{
		1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1,
		1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1,
	})
)

// newFSETable makes the encoder for a distribution, in the same way in which decoders make their tables (RFC 8878 §4.1.1). A
// probability of -1 means less than 1.
func newFSETable(log uint8, distribution []int16) *fseTable {
	size := uint32(1) << log
	t := &fseTable{log: log, next: make([]uint16, size), symbols: make([]fseSymbol, len(distribution))}

	// Distribute the symbols over the states: the rare ones at the end, the others in steps.
	states := make([]uint8, size)
	last := size - 1
	for symbol, p := range distribution {
		if p == -1 {
			states[last] = uint8(symbol)
			last--
		}
	}
	at := uint32(0)
	for symbol, p := range distribution {
		for range max(p, 0) {
			states[at] = uint8(symbol)
			for at = (at + size/2 + size/8 + 3) & (size - 1); at > last; {
				at = (at + size/2 + size/8 + 3) & (size - 1)
			}
		}
	}

	first := make([]uint32, len(distribution)) // the index in next of a symbol's first state
	total := uint32(0)
	for symbol, p := range distribution {
		first[symbol] = total
		count := uint32(max(p, -p))
		width := uint32(log)
		if count > 1 {
			width -= uint32(bits.Len32(count-1)) - 1
		}
		t.symbols[symbol] = fseSymbol{bits: width<<16 - count<<width, state: int32(total) - int32(count)}
		total += count
	}
	for state, symbol := range states {
		t.next[first[symbol]] = uint16(size) + uint16(state)
		first[symbol]++
	}
	return t
}

// minFitted is the least number of symbols that are worth a table of their own.
const minFitted = 64

// fit returns the best table for n symbols with these counts: the default table, or one for these symbols, which it describes at
// the end of dst. mode is the compression mode of the table (RFC 8878 §3.1.1.3.2.1).
func (t *fseTable) fit(dst []byte, counts []int, n int, maxLog uint8) (fitted *fseTable, mode byte, out []byte) {
	for len(counts) > 0 && counts[len(counts)-1] == 0 {
		counts = counts[:len(counts)-1]
	}
	last := len(counts) - 1
	switch {
	case n < minFitted:
		return t, tableDefault, dst
	case counts[last] == n:
		only := make([]int16, len(counts))
		only[last] = 1
		return newFSETable(0, only), tableOfOne, append(dst, byte(last))
	}
	log := min(uint8(bits.Len(uint(n-1)))-3, maxLog)         // more states would not be worth their description
	log = max(log, uint8(bits.Len(uint(last)))+1, minFSELog) // more states than symbols
	distribution := normalize(counts, n, log)
	return newFSETable(log, distribution), tableDescribed, appendDistribution(dst, log, distribution)
}

const (
	tableDefault   = 0
	tableOfOne     = 1
	tableDescribed = 2

	minFSELog = 5
)

// normalize returns the number of states for each symbol: at least one if it occurs.
func normalize(counts []int, n int, log uint8) []int16 {
	states := 1 << log
	distribution := make([]int16, len(counts))
	left, most := states, 0
	for symbol, count := range counts {
		if count > 0 {
			distribution[symbol] = int16(max(1, (count*states+n/2)/n))
			left -= int(distribution[symbol])
		}
		if count > counts[most] {
			most = symbol
		}
	}
	for left < 0 && int(distribution[most])+left < 1 { // the most frequent symbol alone cannot give up so many states
		for symbol := range distribution {
			if distribution[symbol] > 1 && left < 0 {
				distribution[symbol]--
				left++
			}
		}
	}
	distribution[most] += int16(left)
	return distribution
}

// appendDistribution appends the description of a table (RFC 8878 §4.1.1).
func appendDistribution(dst []byte, log uint8, distribution []int16) []byte {
	w := bitWriter{out: dst}
	w.add(uint32(log)-minFSELog, 4)
	left, width, threshold := 1<<log+1, log+1, 1<<log
	for symbol := 0; left > 1; symbol++ {
		p := int(distribution[symbol])
		value, short := p+1, 2*threshold-1-left
		left -= p
		if value >= threshold {
			value += short
		}
		if value < short {
			w.add(uint32(value), width-1)
		} else {
			w.add(uint32(value), width)
		}
		if p == 0 { // the number of further zeros, in steps of three
			zeros := 0
			for distribution[symbol+1+zeros] == 0 {
				zeros++
			}
			symbol += zeros
			for ; zeros >= 3; zeros -= 3 {
				w.add(3, 2)
				w.flush()
			}
			w.add(uint32(zeros), 2)
		}
		for left < threshold {
			width--
			threshold >>= 1
		}
		w.flush()
	}
	w.pad()
	return w.out
}

// begin returns the state that encodes the first symbol.
func (t *fseTable) begin(symbol uint8) uint32 {
	s := t.symbols[symbol]
	n := (s.bits + 1<<15) >> 16
	return uint32(t.next[int32((n<<16-s.bits)>>n)+s.state])
}

// encode writes the bits of a symbol and returns the next state.
func (t *fseTable) encode(w *bitWriter, state uint32, symbol uint8) uint32 {
	s := t.symbols[symbol]
	n := (state + s.bits) >> 16
	w.add(state, uint8(n))
	return uint32(t.next[int32(state>>n)+s.state])
}

// bitWriter writes bits, the least significant first.
type bitWriter struct {
	out  []byte
	bits uint64
	n    uint8 // the number of bits, at most 7 after flush
}

// add adds the n lowest bits of value. At most 56 bits may be added before a flush.
func (w *bitWriter) add(value uint32, n uint8) {
	w.bits |= uint64(value&(1<<n-1)) << w.n
	w.n += n
}

func (w *bitWriter) flush() {
	for ; w.n >= 8; w.n -= 8 {
		w.out = append(w.out, byte(w.bits))
		w.bits >>= 8
	}
}

// pad fills the last byte with zeros.
func (w *bitWriter) pad() {
	w.n = (w.n + 7) &^ 7
	w.flush()
}

// close adds a 1 bit. A decoder reads from the end, and finds the first bit after it.
func (w *bitWriter) close() {
	w.add(1, 1)
	w.pad()
}
