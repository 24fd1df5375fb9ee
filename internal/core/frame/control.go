// Package frame makes the frames that do not come from a record: the control events, and the blocks that only set a client's
// last event id. Package eventstream makes the frames of records.
package frame

import (
	"encoding/json"

	"github.com/seed-4dedbcea/caddy-sse/eventstream"
)

// The types of the control events. A client that does not listen for them ignores them.
const (
	TypeError = "sse-error" // the upstream failed in mid-stream
	TypeGap   = "sse-gap"   // this client lost records
)

// The reasons for a gap.
const (
	GapRecordTooLarge = "record_too_large" // a record was larger than max_record_size
	GapHistory        = "history"          // the history does not hold the client's Last-Event-ID
	GapLag            = "lag"              // the client fell behind the history
	GapUpstream       = "upstream"         // the upstream could not continue where it had stopped
)

// Gap is the data of an sse-gap event. Its ids are JSON strings, so that no id can break out of its line.
type Gap struct {
	Reason      string `json:"reason"`
	LastEventID string `json:"last_event_id,omitempty"`
	OldestID    string `json:"oldest_id,omitempty"`
}

// AppendGap appends an sse-gap event.
func AppendGap(dst []byte, g Gap) []byte {
	// A client can send any Last-Event-ID. Only so much of it is sent back. Our own ids are shorter.
	const longest = 256
	if len(g.LastEventID) > longest {
		g.LastEventID = g.LastEventID[:longest]
	}
	return appendControl(dst, TypeGap, g)
}

func appendControl(dst []byte, name string, data any) []byte {
	dst, _ = eventstream.AppendType(dst, []byte(name))
	return eventstream.AppendData(dst, marshal(data))
}

func marshal(data any) []byte {
	text, err := json.Marshal(data)
	if err != nil {
		panic(err) // impossible: the data has only strings and numbers
	}
	return text
}

// AppendPosition appends a block that sets the client's last event id without an event (WHATWG HTML §9.2.6). With an empty id,
// it is a blank line.
func AppendPosition(dst, id []byte) []byte {
	dst, _ = eventstream.AppendID(dst, id)
	return append(dst, '\n')
}
