// Package frame makes the frames of an event stream that are ours: the control events, and the blocks that tell a client
// where its stream stands. Package eventstream makes those of records.
package frame

import (
	"encoding/json"

	"github.com/seed-4dedbcea/caddy-sse/eventstream"
)

// Types of the control events. A client that does not listen for them never notices them.
const (
	TypeError = "sse-error" // the upstream failed in mid-stream
	TypeGap   = "sse-gap"   // records were lost to this client
)

// Reasons of a gap.
const (
	GapRecordTooLarge = "record_too_large" // a record was larger than max_record_size
	GapHistory        = "history"          // the history does not hold the client's Last-Event-ID
	GapLag            = "lag"              // the client fell behind the history
	GapUpstream       = "upstream"         // the upstream could not continue where it was
)

// Gap is the data of an sse-gap. Its ids are JSON strings, so that no id can break out of its line.
type Gap struct {
	Reason      string `json:"reason"`
	LastEventID string `json:"last_event_id,omitempty"`
	OldestID    string `json:"oldest_id,omitempty"`
}

// AppendGap appends an sse-gap.
func AppendGap(dst []byte, g Gap) []byte {
	// A client can send any Last-Event-ID. It gets no more of it back than an id of ours would have.
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
		panic(err) // strings and numbers only: cannot be
	}
	return text
}

// AppendPosition appends a block that tells a client where its stream stands, without an event.
func AppendPosition(dst, id []byte) []byte {
	dst, _ = eventstream.AppendID(dst, id)
	return append(dst, '\n')
}
