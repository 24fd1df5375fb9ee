package sse

import "github.com/seed-4dedbcea/caddy-sse/eventstream"

// The encoder of events. It lies in a package of its own, which a Go program can import without Caddy; these names are
// the same types.
type (
	// Event is one event of an event stream (WHATWG HTML §9.2.5).
	Event = eventstream.Event
	// EventID is an event id that is ready to be sent.
	EventID = eventstream.ID
	// EventType is an event type that is ready to be sent.
	EventType = eventstream.Type
	// Fields are an id and an event type that many events share.
	Fields = eventstream.Fields
)

// ErrField is the error for an id or event type that cannot be sent.
var ErrField = eventstream.ErrField

// NewEventID prepares an id. An empty one sends no field. The error is ErrField.
func NewEventID(id string) (EventID, error) { return eventstream.NewID(id) }

// NewEventType prepares an event type. An empty one sends no field. The error is ErrField.
func NewEventType(name string) (EventType, error) { return eventstream.NewType(name) }

// NewFields prepares the fields of events with this id and event type.
func NewFields(id EventID, eventType EventType) Fields { return eventstream.NewFields(id, eventType) }
