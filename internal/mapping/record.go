// Package mapping turns a record into the fields of an event (templates) and
// decides whether it is sent at all (the where expression). It knows records
// and JSON, and neither HTTP nor Caddy.
package mapping

import (
	"bytes"
	"strings"
	"unsafe"

	"github.com/tidwall/gjson"
)

// maxDepth is how deep a JSON record may be nested; a deeper one counts as
// text. It is the limit of encoding/json. Without one, a record of nothing but
// brackets would grow the validator's stack until the process dies.
const maxDepth = 10_000

// Record is what templates and where look at: a text and its number in the
// stream. It is reused from record to record and for one goroutine at a time.
type Record struct {
	text []byte
	seq  uint64
	json validity
}

type validity uint8

const (
	unknown validity = iota
	valid
	invalid
)

// Reset makes r the record text with number seq and forgets what was parsed of
// the one before. The text must be valid UTF-8. It is not copied: it must not
// change until the next Reset.
func (r *Record) Reset(text []byte, seq uint64) {
	*r = Record{text: text, seq: seq}
}

// Text is the whole record.
func (r *Record) Text() []byte { return r.text }

// IsJSON says whether the record is one JSON value (RFC 8259), with white space
// around it allowed. It is found out at most once per record.
func (r *Record) IsJSON() bool {
	if r.json == unknown {
		r.json = invalid
		if !tooDeep(r.text) && gjson.ValidBytes(r.text) {
			r.json = valid
		}
	}
	return r.json == valid
}

// value is the record's JSON value, without the white space around it. Only
// for records that are JSON. It shares the record's memory, so it must not
// outlive the record.
func (r *Record) value() string {
	return strings.Trim(unsafe.String(unsafe.SliceData(r.text), len(r.text)), " \t\r\n")
}

// tooDeep says whether text, if it is JSON, is nested deeper than maxDepth. The
// first two tests spare almost every record the third.
func tooDeep(text []byte) bool {
	if len(text) <= maxDepth {
		return false
	}
	if bytes.Count(text, []byte{'['})+bytes.Count(text, []byte{'{'}) <= maxDepth {
		return false
	}
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth > maxDepth {
				return true
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return false
}
