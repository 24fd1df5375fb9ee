// Package eventstream encodes Server-Sent Events: the event stream format of WHATWG HTML §9.2.5. It needs the standard
// library alone, so a Go program can use it without Caddy.
//
// An [Event] never becomes a malformed frame: [NewID] and [NewType] refuse a value that would break its field, and data
// is split at every line break that clients know. The Append functions build a frame piece by piece.
package eventstream

import (
	"errors"
	"slices"
)

// ErrField is returned for an id or event type that cannot be sent. A line break would end the field and forge another
// one, and clients ignore an id with NUL (WHATWG HTML §9.2.6). A client must also be able to send the id back in a
// Last-Event-ID header.
var ErrField = errors.New("an event type cannot have a line break, nor an id a control character, white space at an end, more than 8 KiB, or the value sse-end")

// Event is one event of an event stream (WHATWG HTML §9.2.5). The zero value is an event with empty data, which
// browsers dispatch.
type Event struct {
	ID   ID
	Type Type
	Data []byte // UTF-8; LF, CR and CRLF each start a new data line
}

// AppendTo appends the event's frame to dst: the fields id, event and data, in this order, then a blank line. It
// allocates only to grow dst.
func (e Event) AppendTo(dst []byte) []byte {
	dst = append(dst, e.ID.field...)
	dst = append(dst, e.Type.field...)
	return AppendData(dst, e.Data)
}

// Fields are an id and an event type that many events share. The zero value sends neither.
type Fields struct{ text string }

// NewFields returns the fields of events with this id and event type.
func NewFields(id ID, eventType Type) Fields {
	return Fields{text: id.field + eventType.field}
}

// AppendEvent appends the frame of an event with these fields and data to dst, as [Event.AppendTo] does.
func (f Fields) AppendEvent(dst, data []byte) []byte {
	dst = slices.Grow(dst, len(f.text)+len("data: \n\n")+len(data)) // once, for nearly all data
	dst = append(dst, f.text...)
	return AppendData(dst, data)
}

// ID is an event id that its field can carry: [NewID] has checked it. The zero value sends no id field.
type ID struct{ field string }

// NewID returns an event id. An empty one sends no id field. NewID returns [ErrField] for an id that a client could not
// send back, and for [EndID].
func NewID(id string) (ID, error) {
	field, ok := AppendID(nil, []byte(id))
	if !ok {
		return ID{}, ErrField
	}
	return ID{field: string(field)}, nil
}

// Type is an event type that its field can carry: [NewType] has checked it. The zero value sends no event field, and
// browsers dispatch such an event as "message".
type Type struct{ field string }

// NewType returns an event type. An empty one sends no event field. NewType returns [ErrField] for a type with a line
// break.
func NewType(name string) (Type, error) {
	field, ok := AppendType(nil, []byte(name))
	if !ok {
		return Type{}, ErrField
	}
	return Type{field: string(field)}, nil
}

// EndID is the id of the event that ends a stream for good. The sse handler answers a client that reconnects with it by
// 204, after which EventSource stays closed. The id is reserved: NewID refuses it.
const EndID = "sse-end"

// EndEvent returns an event with the reserved id EndID.
func EndEvent(eventType Type, data []byte) Event {
	return Event{ID: ID{field: "id: " + EndID + "\n"}, Type: eventType, Data: data}
}
