// Package eventstream encodes Server-Sent Events in the event stream format (WHATWG HTML §9.2.5). It imports only the
// standard library, so any Go program can use it without Caddy.
//
// An [Event] always becomes a well-formed frame: [NewID] and [NewType] reject values that would break their field, and data
// is split at every line break that clients recognize. The Append functions build a frame piece by piece.
package eventstream

import (
	"errors"
	"slices"
)

// ErrField is returned for an id or event type that cannot be sent. A line break would end the field and start a forged
// one. Clients ignore an id with NUL (WHATWG HTML §9.2.6). Clients must also be able to send the id back in a Last-Event-ID
// header.
var ErrField = errors.New("an event type cannot have a line break, nor an id a control character, white space at an end, more than 8 KiB, or the value sse-end")

// Event is one event in an event stream (WHATWG HTML §9.2.5). The zero value is an event with empty data. Browsers dispatch
// it.
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
	dst = slices.Grow(dst, len(f.text)+len("data: \n\n")+len(data)) // enough for data without line breaks
	dst = append(dst, f.text...)
	return AppendData(dst, data)
}

// ID is a valid event id, made by [NewID]. The zero value sends no id field.
type ID struct{ field string }

// NewID returns an event id. An empty id sends no id field. NewID returns [ErrField] for an id that a client could not send
// back in a header, and for [EndID].
func NewID(id string) (ID, error) {
	field, ok := AppendID(nil, []byte(id))
	if !ok {
		return ID{}, ErrField
	}
	return ID{field: string(field)}, nil
}

// Type is a valid event type, made by [NewType]. The zero value sends no event field. Browsers dispatch an event without a
// type as "message".
type Type struct{ field string }

// NewType returns an event type. An empty type sends no event field. NewType returns [ErrField] for a type with a line
// break.
func NewType(name string) (Type, error) {
	field, ok := AppendType(nil, []byte(name))
	if !ok {
		return Type{}, ErrField
	}
	return Type{field: string(field)}, nil
}

// EndID is the id of the event that ends a stream for good. When a client reconnects with this id, the sse handler answers
// 204, and EventSource stays closed. The id is reserved: NewID rejects it. Use [EndEvent] to send it.
const EndID = "sse-end"

// EndEvent returns an event with the reserved id EndID.
func EndEvent(eventType Type, data []byte) Event {
	return Event{ID: ID{field: "id: " + EndID + "\n"}, Type: eventType, Data: data}
}
