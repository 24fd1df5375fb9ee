// Package records finds the records in the bytes of an upstream. A [Splitter] takes the bytes in chunks and returns tokens.
// The tokens depend on the bytes alone, not on how the bytes are cut into chunks.
//
// The decoder turns the bytes, in any charset, into pieces of valid UTF-8 text. The code for the format (lines.go, json.go,
// json_seq.go, event_stream.go) then reads each byte of text once. It copies text only if a record is in several pieces.
package records

import (
	"bytes"
	"math"
)

// Options says how a Splitter works.
type Options struct {
	Format   Format
	Charset  *Charset // nil: UTF-8; ignored for an EventStream, which is always UTF-8
	MaxSize  int      // the most bytes in Record.Text; 0 or less: 1 MiB
	Oversize Oversize // what happens to a larger record
	Budget   *Budget  // a limit that several splitters share; nil: none
}

const (
	defaultMaxSize = 1 << 20
	// idleSize is the largest buffer that a Splitter keeps between records. There are many streams, but few large records.
	idleSize = 64 << 10
)

// Record is a record that Next has found. Its slices are valid until the next call of Next or Feed. They must not be
// changed.
type Record struct {
	// Text is the record as valid UTF-8, without its delimiters.
	Text []byte
	// OneLine is true if Text has neither CR nor LF. If it is false, Text may have one.
	OneLine bool
	// ID is the value of the last id field since the previous record of an EventStream. It is empty if the upstream reset
	// its id, and nil if there was no such field.
	ID []byte
	// Event is the event's type, in an EventStream. It is nil if the event has none.
	Event []byte
	// IDDropped and EventDropped are true if an EventStream had an id or a type that cannot be sent: an id with NUL, or an id
	// or a type over 8 KiB.
	IDDropped, EventDropped bool
	// End is the number of bytes fed up to the end of this record, with its terminator. It counts source bytes, before decoding.
	// If the terminator has two bytes (a CRLF in an EventStream), or is the beginning of the next record, End includes only
	// as much of it as was needed to see the end. Next sets End with IsRecord and IsBlank.
	End int64
	// Retry is the reconnection time in milliseconds, with IsRetry.
	Retry int64
	// Truncated is true if Text is the beginning of a record over MaxSize.
	Truncated bool
	// Seq is the record's number in its stream, from 1. The Splitter does not set it.
	Seq uint64
	// WantsJSON is true if records in this format should be JSON. The Splitter does not set it.
	WantsJSON bool
	// IsLine is true if records in this format are lines of text. The Splitter does not set it.
	IsLine bool
}

// Token is the kind of thing that Next has found.
type Token uint8

const (
	// NeedMore asks for the next Feed. After Finish, it means that there is nothing more.
	NeedMore Token = iota
	// IsRecord is a record.
	IsRecord
	// IsBlank is a heartbeat of the upstream: a blank line between records, or a comment of an EventStream.
	IsBlank
	// IsRetry is the reconnection time that an EventStream asks for. Next sets Record.Retry. It may come within an event.
	IsRetry
	// IsID is an id without an event, in an EventStream. A client that reconnects would send it. Next sets Record.ID. The next
	// record has this id, too.
	IsID
	// IsSkipped means that a record over MaxSize is dropped. It may come before the end of that record.
	IsSkipped
	// IsTooLarge ends a stream whose policy is Fail. Each later call of Next returns it again.
	IsTooLarge
)

// Splitter finds the records in one stream of bytes. It keeps at most the text of one record: MaxSize and a byte. Charsets other than
// UTF-8 and the fields of an EventStream take a few KiB more.
type Splitter struct {
	format   Format
	oversize Oversize
	max      int
	source   decoder
	finished bool
	clean    bool
	failed   bool

	piece
	partial
	budget *Budget

	json  jsonState
	event eventState
}

// piece is the text that is being read.
type piece struct {
	text  []byte
	pos   int  // the index of the next byte to read
	noCR  bool // text has no CR
	plain bool // each LF ends a line: text has no CR, and no part of a line was kept
}

// partial is a record whose end has not come yet.
type partial struct {
	carry    []byte // its text from earlier pieces
	carryCR  bool   // carry may hold a CR
	over     bool   // it is larger than carry may grow, and its rest is dropped
	reported bool   // Next has returned a token for that
	held     int    // the capacity of carry, as the budget knows it
}

// isEmpty reports whether nothing was kept.
func (p *partial) isEmpty() bool { return len(p.carry) == 0 && !p.over }

// New returns a Splitter for one stream.
func New(o Options) *Splitter {
	s := &Splitter{format: o.Format, oversize: o.Oversize, max: o.MaxSize, budget: o.Budget}
	if s.max <= 0 {
		s.max = defaultMaxSize
	}
	s.max = min(s.max, math.MaxInt-1)
	if s.format == EventStream {
		o.Charset = utf8Charset // always (WHATWG HTML §9.2.5)
	}
	s.source.use(o.Charset)
	if s.format == EventStream {
		s.event.id.value, s.event.line.value = []byte{}, []byte{} // an empty id is not nil
	}
	return s
}

// Feed takes the next bytes of the stream. Call it after Next has returned NeedMore. Do not change p until Next returns NeedMore
// again.
func (s *Splitter) Feed(p []byte) {
	s.source.chunk = p
}

// Resume says that the bytes do not start at the beginning of a text, so that U+FEFF at their start is not a byte order mark. Call it
// before the first Feed.
func (s *Splitter) Resume() {
	s.source.begun = true
}

// Finish says that the upstream has ended. Call it after Next has returned NeedMore. After a clean end, a last record without its
// terminator counts, except in an EventStream. Otherwise it is dropped. Call Next until it returns NeedMore again.
func (s *Splitter) Finish(clean bool) {
	s.finished, s.clean = true, clean
}

// Next returns the next token, and fills rec if the token is IsRecord. A record within one chunk of UTF-8 is a slice of the chunk. Only
// a record in several chunks is copied.
func (s *Splitter) Next(rec *Record) Token {
	if s.plain {
		// This is the path of nearly all lines. Only the LF has to be found.
		rest := s.text[s.pos:]
		n := bytes.IndexByte(rest, '\n')
		if n > 0 && n <= s.max && (rest[0] > ' ' || s.format != NDJSON) {
			s.pos += n + 1
			rec.Text, rec.OneLine = rest[:n], true
			rec.ID, rec.Event = nil, nil
			rec.End, rec.Truncated = s.source.offsetAt(s.pos), false
			return IsRecord
		}
		if n < 0 {
			s.plain = false
			s.pos = len(s.text)
			if token := s.park(rest); token != NeedMore {
				return token
			}
		}
	}
	if s.failed {
		return IsTooLarge
	}
	for {
		for s.pos < len(s.text) {
			token := NeedMore
			switch s.format {
			case JSONSeq:
				token = s.jsonSeq(rec)
			case JSON:
				token = s.jsonValue(rec)
			case EventStream:
				token = s.eventStream(rec)
			default:
				token = s.line(rec)
			}
			if token != NeedMore {
				return token
			}
		}
		if !s.refill() {
			return s.flush(rec)
		}
	}
}

// refill gets the next piece of text.
func (s *Splitter) refill() bool {
	s.text, s.pos, s.plain = nil, 0, false
	if s.finished && !s.clean {
		return false
	}
	s.text = s.source.next(s.finished)
	// One search for the whole piece is faster than one for each record.
	s.noCR = bytes.IndexByte(s.text, '\r') < 0
	s.event.lf = -1
	s.plain = s.noCR && s.format <= NDJSON && s.partial.isEmpty()
	return len(s.text) > 0
}

// flush ends the last record if the stream has ended, and releases buffers that are no longer needed.
func (s *Splitter) flush(rec *Record) Token {
	token := NeedMore
	if s.finished && s.clean {
		token = s.end(rec)
	}
	if token == NeedMore && (s.finished || len(s.carry) == 0 && cap(s.carry) > idleSize) {
		s.carry = nil
	}
	s.budget.account(s)
	return token
}

// end ends the last record after a clean end.
func (s *Splitter) end(rec *Record) Token {
	switch s.format {
	case JSONSeq:
		return s.endJSONSeq(rec)
	case JSON:
		return s.endJSON(rec)
	case EventStream:
		return NeedMore // an event without its blank line is discarded (WHATWG HTML §9.2.6)
	default:
		return s.endLine(rec)
	}
}

// keep copies a part of a record whose end has not come yet.
func (s *Splitter) keep(part []byte) {
	if s.over || len(part) == 0 {
		return
	}
	// carry may hold one byte more than MaxSize. That byte may be a CR that is dropped later. It also shows whether the byte
	// before it ends a character.
	if room := s.max + 1 - len(s.carry); len(part) > room {
		part = part[:room]
		s.over = true
	}
	if need := len(s.carry) + len(part); need > cap(s.carry) {
		grown := make([]byte, len(s.carry), min(max(need, 2*cap(s.carry), 512), s.max+1))
		copy(grown, s.carry)
		s.carry = grown
	}
	s.carry = append(s.carry, part...)
	s.carryCR = s.carryCR || !s.noCR
}

// park keeps a part of a record whose end is not in this piece. It reports a record as too large as soon as that is known.
func (s *Splitter) park(part []byte) Token {
	s.keep(part)
	s.budget.account(s)
	if !s.over || s.reported || s.oversize == Truncate {
		return NeedMore
	}
	return s.report()
}

func (s *Splitter) report() Token {
	s.carry = s.carry[:0]
	if s.oversize == Fail {
		s.failed, s.plain = true, false
		return IsTooLarge
	}
	s.reported = true
	return IsSkipped
}

// join returns the kept parts of a record and its last part as one text.
func (s *Splitter) join(part []byte) []byte {
	if s.partial.isEmpty() {
		return part
	}
	s.keep(part)
	return s.carry
}

// record ends the record with this text. It returns NeedMore if the record has been reported as too large already.
func (s *Splitter) record(rec *Record, text []byte, oneLine bool) Token {
	over, reported := s.over || len(text) > s.max, s.reported
	s.carry, s.carryCR, s.over, s.reported = s.carry[:0], false, false, false
	if reported {
		return NeedMore
	}
	if over {
		if s.oversize != Truncate {
			token := s.report()
			s.reported = false
			return token
		}
		text = cut(text, s.max)
	}
	rec.Text = text
	rec.OneLine = oneLine
	rec.ID, rec.Event = nil, nil
	rec.End = s.source.offsetAt(s.pos)
	rec.Truncated = over
	return IsRecord
}

func (s *Splitter) blank(rec *Record) Token {
	rec.End = s.source.offsetAt(s.pos)
	return IsBlank
}
