package frame

import (
	"errors"
	"strconv"
	"strings"

	"github.com/seed-4dedbcea/caddy-sse/eventstream"
)

// ErrorEvent makes the event that tells a client that its upstream has failed. It is made when the config loads.
type ErrorEvent struct {
	name eventstream.Type
	data *string // with {reason} and {status}; nil: by the failure
}

// Failure is what an error event says.
type Failure struct {
	Reason string
	Status int // that the response would have had

	// TellStatus says that the client cannot know the status, although there is one, as its response had to begin before.
	TellStatus bool

	// Record is the record that says that the upstream has failed. It is nil if there is none.
	Record []byte
}

// DefaultError makes sse-error events.
var DefaultError, _ = NewErrorEvent(TypeError, nil)

// NewErrorEvent returns the maker of events of that type, which may be empty. Data is their data, in which {reason} and
// {status} stand for those of the failure. If it is nil, the data is the record that tells of the failure or, without one,
// a JSON object with the reason.
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

// AppendTo appends the event of a failure.
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
