// Package eventstream encodes Server-Sent Events: the event stream format of WHATWG HTML §9.2.5. It needs nothing but the
// standard library, so a Go program can use it without the Caddy handler.
//
// An [Event] with a prepared [ID] and [Type] cannot become a bad frame: their constructors refuse a value that its field
// cannot carry, and data is split at every line break that clients know. The Append functions are for streams that put
// their frames together piece by piece.
package eventstream

import (
	"errors"
	"slices"
)

// ErrField is the error for an id or event type that cannot be sent. A line break would end the field and forge another
// one, and clients ignore an id with NUL (WHATWG HTML §9.2.6). An id must also be able to come back as a header.
var ErrField = errors.New("an event type cannot have a line break, nor an id a control character, white space at an end, more than 8 KiB, or the value sse-end")

// Event is one event of an event stream (WHATWG HTML §9.2.5). The zero value is an event with empty data, which
// browsers dispatch.
type Event struct {
	ID   ID
	Type Type
	Data []byte // UTF-8; LF, CR and CRLF each start a new data line
}

// AppendTo appends the event's frame, fields in the order id, event, data, then a blank line. It allocates only
// to grow dst.
func (e Event) AppendTo(dst []byte) []byte {
	dst = append(dst, e.ID.field...)
	dst = append(dst, e.Type.field...)
	return AppendData(dst, e.Data)
}

// Fields are an id and an event type that many events share. The zero value sends neither.
type Fields struct{ text string }

// NewFields prepares the fields of events with this id and event type.
func NewFields(id ID, eventType Type) Fields {
	return Fields{text: id.field + eventType.field}
}

// AppendEvent appends the frame of an event with these fields, as Event.AppendTo does.
func (f Fields) AppendEvent(dst, data []byte) []byte {
	dst = slices.Grow(dst, len(f.text)+len("data: \n\n")+len(data)) // once, for nearly all data
	dst = append(dst, f.text...)
	return AppendData(dst, data)
}

// ID is an event id that is ready to be sent. It cannot hold an id that its field cannot carry. The zero value sends no
// id field.
type ID struct{ field string }

// NewID prepares an id; an empty one sends no field. The error is ErrField.
func NewID(id string) (ID, error) {
	field, ok := AppendID(nil, []byte(id))
	if !ok {
		return ID{}, ErrField
	}
	return ID{field: string(field)}, nil
}

// Type is an event type that is ready to be sent. It cannot hold a type that its field cannot carry. The zero value sends
// no event field: browsers dispatch such an event as "message".
type Type struct{ field string }

// NewType prepares an event type; an empty one sends no field. The error is ErrField.
func NewType(name string) (Type, error) {
	field, ok := AppendType(nil, []byte(name))
	if !ok {
		return Type{}, ErrField
	}
	return Type{field: string(field)}, nil
}

// EndID is the id of the event that ends a stream for good. A client that returns with it is told to stay away. It is
// reserved: no other event can have it, and NewID refuses it.
const EndID = "sse-end"

// EndEvent returns an event with the reserved id EndID.
func EndEvent(eventType Type, data []byte) Event {
	return Event{ID: ID{field: "id: " + EndID + "\n"}, Type: eventType, Data: data}
}
