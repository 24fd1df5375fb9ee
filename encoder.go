package sse

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// ErrField is the error for an id or event type that cannot be sent. One with a line break would end its field and forge
// another, and clients ignore an id with NUL (WHATWG HTML §9.2.6). An id is to come back as a header besides.
var ErrField = errors.New("an event type cannot have a line break, nor an id a control character, white space at an end, more than 8 KiB, or the value sse-end")

// Event is one event of an event stream (WHATWG HTML §9.2.5). The zero value is an event with empty data, which
// browsers dispatch.
type Event struct {
	ID   EventID
	Type EventType
	Data []byte // UTF-8; LF, CR and CRLF each start a new data line
}

// AppendTo appends the event's frame, fields in the order id, event, data, then a blank line. It allocates only
// to grow dst.
func (e Event) AppendTo(dst []byte) []byte {
	dst = append(dst, e.ID.field...)
	dst = append(dst, e.Type.field...)
	return AppendData(dst, e.Data)
}

// Fields are an id and an event type put together, for many events that share them. The zero value sends neither.
type Fields struct{ text string }

// NewFields puts an id and an event type together.
func NewFields(id EventID, eventType EventType) Fields {
	return Fields{text: id.field + eventType.field}
}

// AppendEvent appends the frame of an event with these fields, as Event.AppendTo does.
func (f Fields) AppendEvent(dst, data []byte) []byte {
	dst = slices.Grow(dst, len(f.text)+len("data: \n\n")+len(data)) // once, for nearly all data
	dst = append(dst, f.text...)
	return AppendData(dst, data)
}

// EventID is an id that is ready to be sent. It cannot hold one that its field cannot carry. The zero value
// sends no id field.
type EventID struct{ field string }

// NewEventID prepares an id; an empty one sends no field. The error is ErrField.
func NewEventID(id string) (EventID, error) {
	field, ok := AppendID(nil, []byte(id))
	if !ok {
		return EventID{}, ErrField
	}
	return EventID{field: string(field)}, nil
}

// EventType is an event type that is ready to be sent. It cannot hold one that its field cannot carry. The zero
// value sends no event field, which browsers dispatch as "message".
type EventType struct{ field string }

// NewEventType prepares an event type; an empty one sends no field. The error is ErrField.
func NewEventType(name string) (EventType, error) {
	field, ok := AppendType(nil, []byte(name))
	if !ok {
		return EventType{}, ErrField
	}
	return EventType{field: string(field)}, nil
}

// AppendID appends an id field. An empty id appends nothing; one that a client could not send back appends nothing
// and reports false.
func AppendID(dst, id []byte) ([]byte, bool) {
	if len(id) == 0 {
		return dst, true
	}
	if !comesBack(id) {
		return dst, false
	}
	dst = append(dst, "id: "...)
	dst = append(dst, id...)
	return append(dst, '\n'), true
}

// longestID is how long an id may be: servers and proxies take headers of little more.
const longestID = 8 << 10

// comesBack is whether a client could send an id back: as a header's value, which has no control characters, loses white
// space at its ends (RFC 9110 §5.5) and has to be of a size that servers take. The id that ends a stream for good
// is not for others.
func comesBack(id []byte) bool {
	if len(id) > longestID {
		return false
	}
	for i, c := range id {
		if c < ' ' || c == 0x7f || c == 0xc2 && i+1 < len(id) && id[i+1] < 0xa0 { // U+0080 to U+009F
			return false
		}
	}
	first, _ := utf8.DecodeRune(id)
	last, _ := utf8.DecodeLastRune(id)
	return !unicode.IsSpace(first) && !unicode.IsSpace(last) && string(id) != terminalID
}

// AppendType appends an event field. An empty name appends nothing; one that the field cannot carry appends
// nothing and reports false.
func AppendType(dst, name []byte) ([]byte, bool) {
	return appendField(dst, "event: ", name)
}

func appendField(dst []byte, name string, value []byte) ([]byte, bool) {
	if len(value) == 0 {
		return dst, true
	}
	if bytes.IndexByte(value, '\n') >= 0 || bytes.IndexByte(value, '\r') >= 0 {
		return dst, false
	}
	dst = append(dst, name...)
	dst = append(dst, value...)
	return append(dst, '\n'), true
}

// AppendData appends the data lines and the blank line that ends the event. LF, CR and CRLF each start a new
// line, as a client would otherwise take what follows them for a field of its own.
func AppendData(dst, data []byte) []byte {
	if bytes.IndexByte(data, '\n') < 0 && bytes.IndexByte(data, '\r') < 0 {
		return AppendDataLine(dst, data)
	}
	return appendDataLines(dst, data)
}

// AppendDataLine is AppendData for data that is known to hold neither CR nor LF.
func AppendDataLine(dst, line []byte) []byte {
	if len(line) == 0 {
		return append(dst, "data:\n\n"...)
	}
	dst = append(dst, "data: "...)
	dst = append(dst, line...)
	return append(dst, "\n\n"...)
}

func appendDataLines(dst, data []byte) []byte {
	// Each of the two searches goes over the data once, however many line breaks there are of the other kind.
	lf, cr := bytes.IndexByte(data, '\n'), bytes.IndexByte(data, '\r')
	for pos := 0; ; {
		end := len(data)
		if lf >= 0 {
			end = lf
		}
		if cr >= 0 && cr < end {
			end = cr
		}
		dst = append(dst, "data:"...)
		if end > pos {
			dst = append(dst, ' ')
			dst = append(dst, data[pos:end]...)
		}
		dst = append(dst, '\n')
		if end == len(data) {
			return append(dst, '\n')
		}
		pos = end + 1
		if end == cr && pos == lf {
			pos++
		}
		if lf >= 0 && lf < pos {
			lf = indexByteFrom(data, '\n', pos)
		}
		if cr >= 0 && cr < pos {
			cr = indexByteFrom(data, '\r', pos)
		}
	}
}

func indexByteFrom(b []byte, c byte, from int) int {
	if i := bytes.IndexByte(b[from:], c); i >= 0 {
		return from + i
	}
	return -1
}

// AppendRetry appends a block that sets the client's reconnection time, in whole milliseconds.
func AppendRetry(dst []byte, d time.Duration) []byte {
	return append(appendRetryField(dst, d), '\n')
}

// appendRetryField is AppendRetry without the blank line, which several clients take for the end of an event. The field
// counts at once, wherever it stands (WHATWG HTML §9.2.6).
func appendRetryField(dst []byte, d time.Duration) []byte {
	dst = append(dst, "retry: "...)
	dst = strconv.AppendInt(dst, max(d.Milliseconds(), 0), 10)
	return append(dst, '\n')
}

// comment keeps a connection alive without the client's page noticing (WHATWG HTML §9.2.7). There is no blank line after
// it: several clients would take that for the end of an event.
const comment = ":\n"
