package records

import (
	"bytes"
	"strconv"
)

// maxFieldSize is the size of the longest id or event type. A longer one is ignored: a client could not send such an id back in
// a header.
const maxFieldSize = 8 << 10

// maxRetryDigits is the most digits in a reconnection time. A longer one is ignored: no client's timer runs for so long.
const maxRetryDigits = 15

var newline = []byte{'\n'}

// eventState is the parser's state for EventStream.
type eventState struct {
	line    fieldLine
	afterCR bool // an LF that follows belongs to the line before
	lf      int  // the index of the next LF in Splitter.text; lower than pos if it is not known

	pending pendingEvent
	id      lastID
}

// fieldLine is the line being read.
type fieldLine struct {
	field  field
	name   [5]byte // the field's name, as far as it has been read
	named  int     // the number of bytes in name
	spaced bool    // the next byte is dropped if it is a space
	value  []byte  // the value of id, event or retry
	bad    bool    // the value must be ignored
}

// pendingEvent is the event being read. Its data is in part, or in Splitter.carry if it had to be copied.
type pendingEvent struct {
	begun   bool   // it has a line
	hasData bool   // it has a data line
	lines   bool   // it has several data lines
	part    []byte // the value of the first data line, as long as it need not be copied
	kind    []byte // its type
	hasType bool
	badType bool
	givesID bool // it has a valid id line
}

// lastID is the stream's id. If its event has no data, the next record gets it.
type lastID struct {
	value []byte
	isNew bool // no record has had it yet
	isBad bool // an id was ignored since the last record
}

// field is the kind of line being read.
type field uint8

const (
	naming field = iota // the name is not complete yet
	comment
	dataField
	eventField
	idField
	retryField
	ignored
)

func fieldOf(name []byte) field {
	switch string(name) {
	case "":
		return comment
	case "data":
		return dataField
	case "event":
		return eventField
	case "id":
		return idField
	case "retry":
		return retryField
	}
	return ignored
}

// eventStream finds the next record in an EventStream (WHATWG HTML §9.2.6). If the empty line at the end of an event is a CRLF, the
// event ends at the CR, so that it does not wait for the LF.
func (s *Splitter) eventStream(rec *Record) Token {
	e := &s.event
	for s.pos < len(s.text) {
		if e.afterCR {
			e.afterCR = false
			if s.text[s.pos] == '\n' {
				s.pos++
				continue
			}
		}
		end := s.eventLineEnd()
		s.eventLinePart(s.text[s.pos:end])
		if end == len(s.text) {
			break
		}
		e.afterCR = s.text[end] == '\r'
		s.pos = end + 1
		if token := s.eventLine(rec); token != NeedMore {
			return token
		}
	}
	s.pos = len(s.text)
	part := e.pending.part
	e.pending.part = nil
	return s.park(part)
}

// eventLineEnd returns the index of the end of the line, or that of the end of the text. It keeps the index of the next LF: in a text
// whose lines end with a CR, each line would search the rest of the text for an LF otherwise.
func (s *Splitter) eventLineEnd() int {
	e := &s.event
	if e.lf < s.pos {
		e.lf = len(s.text)
		if i := bytes.IndexByte(s.text[s.pos:], '\n'); i >= 0 {
			e.lf = s.pos + i
		}
	}
	if !s.noCR {
		if i := bytes.IndexByte(s.text[s.pos:e.lf], '\r'); i >= 0 {
			return s.pos + i
		}
	}
	return e.lf
}

// eventLinePart reads the next part of the line.
func (s *Splitter) eventLinePart(part []byte) {
	line := &s.event.line
	if line.field == naming {
		colon := -1
		for i, c := range part {
			if c == ':' {
				colon = i
				break
			}
			if line.named == len(line.name) {
				line.field = ignored
				return
			}
			line.name[line.named] = c
			line.named++
		}
		if colon < 0 {
			return
		}
		s.nameField()
		line.spaced = true
		part = part[colon+1:]
	}
	if len(part) == 0 {
		return
	}
	if line.spaced {
		line.spaced = false
		if part[0] == ' ' {
			part = part[1:]
		}
	}
	switch line.field {
	case dataField:
		s.eventData(part)
	case idField, eventField:
		// The standard says to ignore an id with NUL.
		if len(line.value)+len(part) > maxFieldSize || line.field == idField && bytes.IndexByte(part, 0) >= 0 {
			line.bad = true
		}
		if !line.bad {
			line.value = append(line.value, part...)
		}
	case retryField:
		if len(line.value)+len(part) > maxRetryDigits || len(bytes.Trim(part, "0123456789")) > 0 {
			line.bad = true
		} else {
			line.value = append(line.value, part...)
		}
	}
}

// nameField begins the value of the line whose name has been read.
func (s *Splitter) nameField() {
	line, event := &s.event.line, &s.event.pending
	line.field = fieldOf(line.name[:line.named])
	if line.field == dataField {
		if event.hasData {
			event.lines = true
			s.keep(event.part)
			event.part = nil
			s.keep(newline)
		}
		event.hasData = true
	}
}

// eventData adds to the event's data. The first part is not copied, as most events have only one.
func (s *Splitter) eventData(part []byte) {
	event := &s.event.pending
	if event.part == nil && s.partial.isEmpty() {
		event.part = part
		return
	}
	s.keep(event.part)
	event.part = nil
	s.keep(part)
}

// eventLine ends a line.
func (s *Splitter) eventLine(rec *Record) Token {
	line, event := &s.event.line, &s.event.pending
	if line.field == naming {
		if line.named == 0 {
			return s.dispatch(rec)
		}
		s.nameField()
	}
	ended := line.field
	switch {
	case line.bad && ended == idField:
		s.event.id.isBad = true
	case line.bad:
		event.badType = true
	case ended == idField:
		s.event.id.value, line.value, s.event.id.isNew, event.givesID = line.value, s.event.id.value, true, true
	case ended == eventField:
		event.kind, line.value, event.hasType = line.value, event.kind, len(line.value) > 0
	}
	retry := int64(-1)
	if ended == retryField && !line.bad && len(line.value) > 0 {
		retry, _ = strconv.ParseInt(string(line.value), 10, 64)
	}
	line.field, line.named, line.spaced, line.bad, line.value = naming, 0, false, false, line.value[:0]
	event.begun = true
	switch ended {
	case comment:
		s.keepPart()
		return s.blank(rec)
	case retryField:
		if retry >= 0 {
			s.keepPart()
			rec.Retry = retry
			return IsRetry
		}
	case dataField:
		// The record is reported as too large here, so that this token always comes before that of a comment in the next
		// line, wherever a chunk ends.
		if len(s.carry)+len(event.part) > s.max {
			s.keep(event.part)
			event.part, s.over = nil, true
			return s.park(nil)
		}
	}
	return NeedMore
}

// keepPart copies the value of the first data line if the piece of text ends here. It is called before a token in the middle of an
// event.
func (s *Splitter) keepPart() {
	if s.pos == len(s.text) {
		s.keep(s.event.pending.part)
		s.event.pending.part = nil
	}
}

// dispatch ends an event.
func (s *Splitter) dispatch(rec *Record) Token {
	event, id := &s.event.pending, &s.event.id
	begun, hasData, lines := event.begun, event.hasData, event.lines
	hasType, badType, givesID := event.hasType, event.badType, event.givesID
	event.begun, event.hasData, event.lines = false, false, false
	event.hasType, event.badType, event.givesID = false, false, false
	if !hasData {
		if !begun {
			return s.blank(rec)
		}
		if givesID {
			rec.ID = id.value
			return IsID
		}
		return NeedMore
	}
	text := s.join(event.part)
	event.part = nil
	token := s.record(rec, text, !lines)
	if token == IsRecord {
		if id.isNew {
			rec.ID = id.value
		}
		if hasType {
			rec.Event = event.kind
		}
		rec.IDDropped, rec.EventDropped = id.isBad, badType
		id.isNew, id.isBad = false, false
	}
	return token
}
