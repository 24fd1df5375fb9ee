// Package mapping turns records into events. Templates make the fields of an event, and an expression decides which records are
// sent.
package mapping

import "unsafe"

// Document is a record and its number, as templates and expressions read them. It is reused for the next record. Only one
// goroutine may use it at a time.
type Document struct {
	text    []byte
	line    []byte // the line as it arrived, if text was made from it
	seq     uint64
	json    validity
	scanned bool // pathValues are those of text
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

// Line returns the record as it arrived.
func (r *Document) Line() []byte {
	if r.line != nil {
		return r.line
	}
	return r.text
}

// Text returns the whole record.
func (r *Document) Text() []byte { return r.text }

// IsJSON reports whether the record is one JSON value (RFC 8259). White space around the value is allowed. The text is scanned
// at most once.
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

// find returns the value at a node in these paths. It is valid as long as the record is.
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

// view returns text as a string that shares its memory.
func view(text []byte) string { return unsafe.String(unsafe.SliceData(text), len(text)) }
