package records

import (
	"encoding/binary"
	"math/bits"
)

// class is the role of a byte outside of strings in JSON (RFC 8259 §2).
type class uint8

const (
	other class = iota // part of a number or literal, or not JSON
	space
	opening // { [
	closing // } ]
	quote
	comma
	colon
)

var classes = [256]class{
	' ': space, '\t': space, '\n': space, '\r': space,
	'{': opening, '[': opening, '}': closing, ']': closing,
	'"': quote, ',': comma, ':': colon,
}

// jsonState is the state within the value being read, for JSON and JSONSeq. It is only good enough to find the end of a record. It
// counts brackets without matching their kinds, which would take memory for each level. Package mapping checks whether the
// record is JSON.
type jsonState struct {
	in      jsonPart
	depth   int
	quoted  bool // within a string
	escaped bool // right after a backslash in it
	last    lastPart
	array   bool // within a top-level array, whose elements are the records
	used    bool // the line has something other than white space
	lines   bool // JSONSeq: the text has a line break
}

// jsonPart is what JSON is in.
type jsonPart uint8

const (
	between jsonPart = iota
	nested           // an object, an array or a string
	scalar           // a number or literal, or other bytes instead
	stray            // punctuation instead of a value
)

// lastPart is the last thing that was read in an object or array.
type lastPart uint8

const (
	wantsValue  lastPart = iota // an opening bracket, a comma, a colon
	inScalar                    // a byte of a number or literal
	valueIsDone                 // a complete value: only punctuation may follow
)

// jsonValue finds the next record in JSON, and compacts it to one line without white space outside of strings.
//
// Text that is not JSON also becomes records, which do not parse. It damages as few of the next records as possible: a record ends
// where no JSON value can continue. So a value that broke off ends where the next one begins: at two values without a comma
// between them, or at a line break in a string, which JSON does not allow. Missing and superfluous commas between values are
// ignored. The end of an array without a beginning is ignored too, because a file may be read from the middle of an array.
func (s *Splitter) jsonValue(rec *Record) Token {
	j, text, i := &s.json, s.text, s.pos
	run := i // the text from here on belongs to the record, but is not in carry yet
	for i < len(text) {
		if j.quoted {
			i += j.inString(text[i:])
			switch {
			case i == len(text):
			case text[i] == '"':
				i++
				j.quoted, j.last = false, valueIsDone
				if j.depth == 0 {
					return s.jsonEnd(rec, text[run:i], i)
				}
			case text[i] == '\n' || text[i] == '\r':
				return s.jsonEnd(rec, text[run:i], i)
			default:
				i++ // not JSON either, but it does no harm
			}
			continue
		}
		c := text[i]
		what := classes[c]
		switch j.in {
		case between:
			run = i
			i++
			if what == space {
				if c != '\n' {
					continue
				}
				blank := !j.used
				j.used = false
				if blank {
					s.pos = i
					return s.blank(rec)
				}
				continue
			}
			j.used = true
			switch {
			case c == '[' && !j.array:
				j.array = true
			case c == ']':
				j.array = false
			case c == ',':
			case what == opening:
				j.in, j.depth, j.last = nested, 1, wantsValue
			case what == quote:
				j.in, j.quoted = nested, true
			case what == other:
				j.in = scalar
			default:
				j.in = stray
			}
		case scalar:
			if what != other {
				return s.jsonEnd(rec, text[run:i], i)
			}
			i++
		case stray:
			if what < closing || what == quote || c == ',' || c == ']' {
				return s.jsonEnd(rec, text[run:i], i)
			}
			i++
		case nested:
			switch what {
			case space:
				s.keep(text[run:i])
				for i++; i < len(text) && classes[text[i]] == space; i++ {
				}
				run = i
				if j.last == inScalar {
					j.last = valueIsDone
				}
				continue
			case comma, colon:
				j.last = wantsValue
			case closing:
				j.depth--
				j.last = valueIsDone
				if j.depth == 0 {
					return s.jsonEnd(rec, text[run:i+1], i+1)
				}
			case other:
				if j.last == valueIsDone {
					return s.jsonEnd(rec, text[run:i], i)
				}
				j.last = inScalar
			default: // a bracket or a quote
				if j.last != wantsValue {
					return s.jsonEnd(rec, text[run:i], i)
				}
				if what == opening {
					j.depth++
				} else {
					j.quoted = true
				}
			}
			i++
		}
	}
	s.pos = len(text)
	if j.in == between {
		return NeedMore
	}
	return s.park(text[run:])
}

// jsonEnd ends a record before end. It returns NeedMore if Next must continue.
func (s *Splitter) jsonEnd(rec *Record, part []byte, end int) Token {
	s.pos = end
	s.json = jsonState{array: s.json.array, used: true}
	return s.record(rec, s.join(part), true)
}

// endJSON ends the last value, complete or not.
func (s *Splitter) endJSON(rec *Record) Token {
	if s.json.in == between {
		return NeedMore
	}
	return s.jsonEnd(rec, nil, s.pos)
}

// inString returns the number of bytes in p that belong to the string. The string ends at a quote, or before a control character,
// which JSON does not allow in strings.
func (j *jsonState) inString(p []byte) int {
	i := 0
	for {
		if j.escaped {
			if i == len(p) {
				return i
			}
			j.escaped = false
			if p[i] >= ' ' {
				i++
			}
		}
		i += plainLen(p[i:])
		if i == len(p) || p[i] != '\\' {
			return i
		}
		j.escaped = true
		i++
	}
}

// plainLen returns the number of bytes at the start of p before the first quote, backslash or control character. It reads eight bytes
// at a time.
func plainLen(p []byte) int {
	const ones, highBits = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; len(p)-i >= 8; i += 8 {
		w := binary.LittleEndian.Uint64(p[i:])
		// Each term sets the high bit of the bytes that it looks for. A borrow may set more bits, but only above the first
		// byte that was found.
		quotes, slashes := w^'"'*ones, w^'\\'*ones
		found := ((quotes-ones)&^quotes | (slashes-ones)&^slashes | (w-' '*ones)&^w) & highBits
		if found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(p) && p[i] >= ' ' && p[i] != '"' && p[i] != '\\' {
		i++
	}
	return i
}
