// Package mapping turns a record into the fields of an event, by templates, and decides whether it is sent at all, by an
// expression.
package mapping

import "unsafe"

// Document is a record and its number in the stream, as templates and expressions read it. It is reused for each record.
// One goroutine uses it at a time.
type Document struct {
	text    []byte
	line    []byte // as it arrived, if text was made of it
	seq     uint64
	json    validity
	scanned bool // so pathValues are those of text
	pathValues
}

type validity uint8

const (
	unknown validity = iota
	valid
	invalid
)

// Reset makes r the record with this text and number. The text must be valid UTF-8. It is not copied, so it must not change
// until the next Reset.
func (r *Document) Reset(text []byte, seq uint64) {
	r.text, r.line, r.seq, r.json, r.scanned = text, nil, seq, unknown, false
}

// ResetParsed is Reset for a line that was parsed. object is the record, as JSON.
func (r *Document) ResetParsed(object, line []byte, seq uint64) {
	r.text, r.line, r.seq, r.json, r.scanned = object, line, seq, valid, false
}

// IsParsed reports whether the record was made from a line.
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

// IsJSON reports whether the record is one JSON value (RFC 8259), with white space around it allowed. It is found out at
// most once per record.
func (r *Document) IsJSON() bool {
	if r.json == unknown {
		r.scan()
	}
	return r.json == valid
}

func (r *Document) scan() {
	r.scanned, r.json = true, invalid
	if r.pathValues.scan(r.text) {
		r.json = valid
	}
}

// find returns the value at a node of these paths. It is valid as long as the record is.
func (r *Document) find(in *paths, node int) (value string, ok bool) {
	if r.paths != in {
		r.paths, r.spans, r.scanned = in, nil, false
	}
	if !r.scanned && r.json != invalid {
		r.scan()
	}
	if r.json != valid {
		return "", false
	}
	s := r.spans[node]
	return view(r.text[s.start:s.end]), s.end > 0
}

// value returns the record's JSON value without the white space around it. The record must be JSON. The value shares the
// record's memory, and is valid as long as the record is.
func (r *Document) value() string {
	start, end := skipBlank(r.text, 0), len(r.text)
	for r.text[end-1] <= ' ' {
		end--
	}
	return view(r.text[start:end])
}

// view is text as a string that shares its memory.
func view(text []byte) string { return unsafe.String(unsafe.SliceData(text), len(text)) }
