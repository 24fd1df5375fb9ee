package sse

import "github.com/seed-4dedbcea/caddy-sse/eventstream"

// The encoder of events, under its names in package eventstream, or nearly so. A Go program can import that package
// without Caddy.
type (
	// Event is one event of an event stream (WHATWG HTML §9.2.5).
	Event = eventstream.Event
	// EventID is an event id that its field can carry.
	EventID = eventstream.ID
	// EventType is an event type that its field can carry.
	EventType = eventstream.Type
	// Fields are an id and an event type that many events share.
	Fields = eventstream.Fields
)

// ErrField is the error for an id or event type that cannot be sent.
var ErrField = eventstream.ErrField

// NewEventID returns an event id. An empty one sends no id field. It returns ErrField if the field cannot carry the id.
func NewEventID(id string) (EventID, error) { return eventstream.NewID(id) }

// NewEventType returns an event type. An empty one sends no event field. It returns ErrField if the field cannot carry
// the type.
func NewEventType(name string) (EventType, error) { return eventstream.NewType(name) }

// NewFields returns the fields of events with this id and event type.
func NewFields(id EventID, eventType EventType) Fields { return eventstream.NewFields(id, eventType) }
