package sse

import "github.com/seed-4dedbcea/caddy-sse/eventstream"

// The encoder of events. It is package eventstream, which any Go program can import without Caddy.
type (
	// Event is one event in an event stream (WHATWG HTML §9.2.5). The zero value is an event with empty data.
	Event = eventstream.Event
	// EventID is a valid event id, made by NewEventID. The zero value sends no id field.
	EventID = eventstream.ID
	// EventType is a valid event type, made by NewEventType. The zero value sends no event field.
	EventType = eventstream.Type
	// Fields are an id and an event type that many events share, made by NewFields. The zero value sends neither.
	Fields = eventstream.Fields
)

// ErrField is returned for an id or event type that cannot be sent.
var ErrField = eventstream.ErrField

// NewEventID returns an event id. An empty id sends no id field. NewEventID returns ErrField for an id that a client could
// not send back in a header: one with a control character or white space at an end, or one longer than 8 KiB. It also
// returns ErrField for the reserved id "sse-end".
func NewEventID(id string) (EventID, error) { return eventstream.NewID(id) }

// NewEventType returns an event type. An empty type sends no event field. NewEventType returns ErrField for a type with a
// line break.
func NewEventType(name string) (EventType, error) { return eventstream.NewType(name) }

// NewFields returns the fields of events with this id and event type.
func NewFields(id EventID, eventType EventType) Fields { return eventstream.NewFields(id, eventType) }
