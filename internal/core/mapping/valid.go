package mapping

import (
	"encoding/binary"
	"math/bits"
)

// maxDepth is how deep a JSON record may be nested. A deeper one counts as text. encoding/json has the same limit.
const maxDepth = 10_000

// scan reports whether text, which is valid UTF-8, is one JSON value (RFC 8259). White space around the value is allowed. In the
// same pass, it finds the values of the paths.
//
// It must be fast, because every record with a {record.path} or a where is scanned. It reads strings, the largest part of most
// records, eight bytes at a time. No library's validator does that. A nesting level costs a bit, not a stack frame. Outside of
// the paths, no names are compared.
func (v *pathValues) scan(text []byte) bool {
	var open nesting
	node := v.begin() // the node of the next value
	i := skipBlank(text, 0)

value:
	if i == len(text) {
		return false
	}
	start := i
	switch c := text[i]; c {
	case '{':
		if !open.push(true) {
			return false
		}
		if node != noNode {
			v.enter(node, start)
		}
		if i = skipBlank(text, i+1); i < len(text) && text[i] == '}' {
			goto closing
		}
		goto name
	case '[':
		if !open.push(false) {
			return false
		}
		if node != noNode {
			v.enter(node, start)
		}
		if i = skipBlank(text, i+1); i < len(text) && text[i] == ']' {
			goto closing
		}
		goto element
	case '"':
		i = stringEnd(text, i+1)
	case 't':
		i = literalEnd(text, i, "true")
	case 'f':
		i = literalEnd(text, i, "false")
	case 'n':
		i = literalEnd(text, i, "null")
	default:
		i = numberEnd(text, i)
	}
	if i < 0 {
		return false
	}
	if node != noNode {
		v.spans[node].start, v.spans[node].end = start, i
	}

ended:
	i = skipBlank(text, i)
	if open.depth == 0 {
		return i == len(text)
	}
	if i == len(text) {
		return false
	}
	switch text[i] {
	case ',':
		i = skipBlank(text, i+1)
		if open.inObject() {
			goto name
		}
		goto element
	case '}', ']':
		if (text[i] == '}') != open.inObject() {
			return false
		}
		goto closing
	}
	return false

closing:
	i++
	if open.depth == len(v.open) {
		v.leave(i)
	}
	open.depth--
	goto ended

element:
	node = noNode
	if open.depth == len(v.open) {
		node = v.element()
	}
	goto value

name:
	if i == len(text) || text[i] != '"' {
		return false
	}
	start = i + 1
	if i = stringEnd(text, start); i < 0 {
		return false
	}
	node = noNode
	if open.depth == len(v.open) {
		node = v.member(view(text[start : i-1]))
	}
	if i = skipBlank(text, i); i == len(text) || text[i] != ':' {
		return false
	}
	i = skipBlank(text, i+1)
	goto value
}

// nesting holds a bit for each open bracket: whether it is that of an object.
type nesting struct {
	depth int
	first [4]uint64 // enough for nearly all records
	rest  []uint64
}

func (n *nesting) push(object bool) bool {
	if n.depth == maxDepth {
		return false
	}
	word := n.word(n.depth)
	bit := uint64(1) << (n.depth % 64)
	if object {
		*word |= bit
	} else {
		*word &^= bit
	}
	n.depth++
	return true
}

func (n *nesting) inObject() bool {
	return *n.word(n.depth - 1)>>((n.depth-1)%64)&1 == 1
}

func (n *nesting) word(level int) *uint64 {
	i := level / 64
	if i < len(n.first) {
		return &n.first[i]
	}
	if n.rest == nil {
		n.rest = make([]uint64, maxDepth/64+1)
	}
	return &n.rest[i]
}

func skipBlank(text []byte, i int) int {
	for i < len(text) && text[i] <= ' ' && (text[i] == ' ' || text[i] == '\n' || text[i] == '\r' || text[i] == '\t') {
		i++
	}
	return i
}

// stringEnd returns the index after the string whose first character is at i, or -1 if the string is invalid.
func stringEnd(text []byte, i int) int {
	for {
		for i+8 <= len(text) {
			if found := specials(text[i:]); found != 0 {
				i += bits.TrailingZeros64(found) / 8
				break
			}
			i += 8
		}
		if i >= len(text) {
			return -1
		}
		switch c := text[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			if i = escapeEnd(text, i+1); i < 0 {
				return -1
			}
		case c < ' ':
			return -1
		default:
			i++
		}
	}
}

// specials checks the first eight bytes. It sets the top bit of each byte that is a quote, a backslash or a control character. A
// borrow can set more bits above the first such byte, but only the first one counts.
func specials(text []byte) uint64 {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	x := binary.LittleEndian.Uint64(text)
	quote, backslash := x^('"'*ones), x^('\\'*ones)
	return ((quote-ones)&^quote | (backslash-ones)&^backslash | (x-' '*ones)&^x) & tops
}

func escapeEnd(text []byte, i int) int {
	if i == len(text) {
		return -1
	}
	switch text[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		if len(text) < i+5 {
			return -1
		}
		for _, c := range text[i+1 : i+5] {
			if !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'f') {
				return -1
			}
		}
		return i + 5
	}
	return -1
}

func literalEnd(text []byte, i int, literal string) int {
	if len(text)-i < len(literal) || string(text[i:i+len(literal)]) != literal {
		return -1
	}
	return i + len(literal)
}

func numberEnd(text []byte, i int) int {
	if i < len(text) && text[i] == '-' {
		i++
	}
	switch {
	case i < len(text) && text[i] == '0':
		i++
	default:
		if i = digitsEnd(text, i); i < 0 {
			return -1
		}
	}
	if i < len(text) && text[i] == '.' {
		if i = digitsEnd(text, i+1); i < 0 {
			return -1
		}
	}
	if i < len(text) && text[i]|0x20 == 'e' {
		i++
		if i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		return digitsEnd(text, i)
	}
	return i
}

// digitsEnd returns the index after one or more digits, or -1.
func digitsEnd(text []byte, i int) int {
	start := i
	for i < len(text) && isDigit(text[i]) {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
