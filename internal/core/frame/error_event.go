package frame

import (
	"errors"
	"strconv"
	"strings"

	"github.com/seed-4dedbcea/caddy-sse/eventstream"
)

// ErrorEvent makes the events that tell clients that their upstream has failed. It is prepared when the config loads.
type ErrorEvent struct {
	name eventstream.Type
	data *string // may have {reason} and {status}; nil: made from the failure
}

// Failure is the content of an error event.
type Failure struct {
	Reason string
	Status int // the status that the response would have had

	// TellStatus is set if the event must tell the client the status, because the response had begun with another one.
	TellStatus bool

	// Record is the record that error_when selected, or nil.
	Record []byte
}

// DefaultError makes sse-error events.
var DefaultError, _ = NewErrorEvent(TypeError, nil)

// NewErrorEvent returns an ErrorEvent for events of this type, which may be empty. In data, {reason} and {status} stand for
// those of the failure. If data is nil, the data of an event is the failure's record, or else a JSON object with the reason.
func NewErrorEvent(name string, data *string) (*ErrorEvent, error) {
	if name == TypeGap {
		return nil, errors.New("events of the type " + TypeGap + " tell of lost records: choose another type")
	}
	eventType, err := eventstream.NewType(name)
	if err != nil {
		return nil, err
	}
	return &ErrorEvent{eventType, data}, nil
}

// AppendTo appends the event for a failure.
func (e *ErrorEvent) AppendTo(dst []byte, f Failure) []byte {
	switch {
	case e.data != nil:
		text := strings.NewReplacer("{reason}", f.Reason, "{status}", strconv.Itoa(f.Status)).Replace(*e.data)
		return e.append(dst, []byte(text))
	case f.Record != nil:
		return e.append(dst, f.Record)
	}
	said := struct {
		Reason string `json:"reason"`
		Status int    `json:"status,omitempty"`
	}{Reason: f.Reason}
	if f.TellStatus {
		said.Status = f.Status
	}
	return e.append(dst, marshal(said))
}

func (e *ErrorEvent) append(dst, data []byte) []byte {
	return eventstream.Event{Type: e.name, Data: data}.AppendTo(dst)
}
