// Package mapping turns a record into the fields of an event (templates) and
// decides whether it is sent at all (the where expression). It knows records
// and JSON, and neither HTTP nor Caddy.
package mapping

import (
	"strings"
	"unsafe"
)

// Document is what templates and where look at: a record and its number in the stream. It is reused from record to record
// and for one goroutine at a time.
type Document struct {
	text []byte
	line []byte // as it arrived, if text was made of it
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
func (r *Document) Reset(text []byte, seq uint64) {
	*r = Document{text: text, seq: seq}
}

// ResetParsed is Reset for a line that was parsed: object is the record, and JSON.
func (r *Document) ResetParsed(object, line []byte, seq uint64) {
	*r = Document{text: object, line: line, seq: seq, json: valid}
}

// IsParsed reports whether the record was made of a line.
func (r *Document) IsParsed() bool { return r.line != nil }

// Line is the record as it arrived.
func (r *Document) Line() []byte {
	if r.line != nil {
		return r.line
	}
	return r.text
}

// Text is the whole record.
func (r *Document) Text() []byte { return r.text }

// IsJSON says whether the record is one JSON value (RFC 8259), with white space
// around it allowed. It is found out at most once per record.
func (r *Document) IsJSON() bool {
	if r.json == unknown {
		r.json = invalid
		if isJSON(r.text) {
			r.json = valid
		}
	}
	return r.json == valid
}

// value is the record's JSON value, without the white space around it. Only
// for records that are JSON. It shares the record's memory, so it must not
// outlive the record.
func (r *Document) value() string {
	return strings.Trim(unsafe.String(unsafe.SliceData(r.text), len(r.text)), " \t\r\n")
}
