package records

import (
	"bytes"
	"strconv"
)

// maxFieldSize bounds the id and the event type, in bytes. A longer one is
// ignored: no client could send such an id back in a header.
const maxFieldSize = 8 << 10

// maxRetryDigits bounds the reconnection time. One with more digits is
// ignored: no client's timer runs for so long.
const maxRetryDigits = 15

var newline = []byte{'\n'}

// eventState is where EventStream stands in its lines and events. The data
// of the event being read is in part and then in Splitter.carry.
type eventState struct {
	// The line.
	field   field
	name    [5]byte // what is read of the field's name
	named   int     // bytes in name
	spaced  bool    // a space that follows is not part of the value
	value   []byte  // of id, event or retry
	bad     bool    // value is to be ignored
	afterCR bool    // a LF that follows belongs to the line before
	lf      int     // the next LF in Splitter.text; not looked for: before pos

	// The event.
	begun   bool   // it has a line
	hasData bool   // it has a data line
	lines   bool   // more than one
	part    []byte // the first line's value, while it need not be copied
	event   []byte
	hasType bool
	badType bool
	givesID bool // it has an id line that counts

	// The stream: an id stays for the next record if its event has no data.
	id    []byte
	hasID bool
	badID bool // so does what is known of one that was ignored
}

// field is the kind of line being read.
type field uint8

const (
	naming field = iota // not known yet
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

// eventStream finds the next record of EventStream, WHATWG HTML §9.2.6. An
// event's end is seen at the first byte of its empty line's CRLF, so as not
// to hold it back until the next byte comes.
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
	part := e.part
	e.part = nil
	return s.park(part)
}

// eventLineEnd returns where in the text the line ends. The next LF is
// remembered: where CRs end the lines, it would be looked for in each of
// them, through all the text.
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

// eventLinePart goes on with the line, up to its end or not.
func (s *Splitter) eventLinePart(part []byte) {
	e := &s.event
	if e.field == naming {
		colon := -1
		for i, c := range part {
			if c == ':' {
				colon = i
				break
			}
			if e.named == len(e.name) {
				e.field = ignored
				return
			}
			e.name[e.named] = c
			e.named++
		}
		if colon < 0 {
			return
		}
		s.nameField()
		e.spaced = true
		part = part[colon+1:]
	}
	if len(part) == 0 {
		return
	}
	if e.spaced {
		e.spaced = false
		if part[0] == ' ' {
			part = part[1:]
		}
	}
	switch e.field {
	case dataField:
		s.eventData(part)
	case idField, eventField:
		// An id with NUL is ignored, as the standard has it.
		if len(e.value)+len(part) > maxFieldSize || e.field == idField && bytes.IndexByte(part, 0) >= 0 {
			e.bad = true
		}
		if !e.bad {
			e.value = append(e.value, part...)
		}
	case retryField:
		if len(e.value)+len(part) > maxRetryDigits || len(bytes.Trim(part, "0123456789")) > 0 {
			e.bad = true
		} else {
			e.value = append(e.value, part...)
		}
	}
}

// nameField begins the value of the line whose name has been read.
func (s *Splitter) nameField() {
	e := &s.event
	e.field = fieldOf(e.name[:e.named])
	if e.field == dataField {
		if e.hasData {
			e.lines = true
			s.keep(e.part)
			e.part = nil
			s.keep(newline)
		}
		e.hasData = true
	}
}

// eventData adds to the event's data. The first part stays where it is, as
// most events have but one.
func (s *Splitter) eventData(part []byte) {
	e := &s.event
	if e.part == nil && len(s.carry) == 0 && !s.over {
		e.part = part
		return
	}
	s.keep(e.part)
	e.part = nil
	s.keep(part)
}

// eventLine ends a line.
func (s *Splitter) eventLine(rec *Record) Token {
	e := &s.event
	if e.field == naming {
		if e.named == 0 {
			return s.dispatch(rec)
		}
		s.nameField()
	}
	ended := e.field
	switch {
	case e.bad && ended == idField:
		e.badID = true
	case e.bad:
		e.badType = true
	case ended == idField:
		e.id, e.value, e.hasID, e.givesID = e.value, e.id, true, true
	case ended == eventField:
		e.event, e.value, e.hasType = e.value, e.event, len(e.value) > 0
	}
	retry := int64(-1)
	if ended == retryField && !e.bad && len(e.value) > 0 {
		retry, _ = strconv.ParseInt(string(e.value), 10, 64)
	}
	e.field, e.named, e.spaced, e.bad, e.value = naming, 0, false, false, e.value[:0]
	e.begun = true
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
		// Told here, so that it comes before the token of a comment that
		// follows, wherever chunks end.
		if len(s.carry)+len(e.part) > s.max {
			s.keep(e.part)
			e.part, s.over = nil, true
			return s.park(nil)
		}
	}
	return NeedMore
}

// keepPart keeps the first line's value before a token in mid-event, if it
// lies in a piece that ends here.
func (s *Splitter) keepPart() {
	if s.pos == len(s.text) {
		s.keep(s.event.part)
		s.event.part = nil
	}
}

// dispatch ends an event.
func (s *Splitter) dispatch(rec *Record) Token {
	e := &s.event
	begun, hasData, lines, hasType, badType, givesID := e.begun, e.hasData, e.lines, e.hasType, e.badType, e.givesID
	e.begun, e.hasData, e.lines, e.hasType, e.badType, e.givesID = false, false, false, false, false, false
	if !hasData {
		if !begun {
			return s.blank(rec)
		}
		if givesID {
			rec.ID = e.id
			return IsID
		}
		return NeedMore
	}
	text := s.join(e.part)
	e.part = nil
	token := s.record(rec, text, !lines)
	if token == IsRecord {
		if e.hasID {
			rec.ID = e.id
		}
		if hasType {
			rec.Event = e.event
		}
		rec.IDDropped, rec.EventDropped = e.badID, badType
		e.hasID, e.badID = false, false
	}
	return token
}
