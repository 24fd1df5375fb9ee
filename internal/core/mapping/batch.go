package mapping

import (
	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// Batch collects the frames that are sent to a client together. Only one goroutine may use it at a time.
type Batch struct {
	Mapper *Mapper
	Frames []byte
	Events int    // the number of events in Frames
	LastID []byte // the client's last event id; empty if there is none, or if an event reset it
}

// Add appends the frame of a record, if the mapping makes one. See Mapper.Append.
func (b *Batch) Add(rec *records.Record, fallbackID []byte) Result {
	var r Result
	b.Frames, r = b.Mapper.Append(b.Frames, rec, fallbackID)
	if r.Outcome == Sent {
		b.Events++
		if r.ID != nil {
			b.LastID = append(b.LastID[:0], r.ID...) // an empty id resets it
		}
	}
	return r
}

// Gap appends an sse-gap event. Its last_event_id is b.LastID, or lastID if that is empty.
func (b *Batch) Gap(reason, lastID string) {
	if len(b.LastID) > 0 {
		lastID = string(b.LastID)
	}
	b.Frames = frame.AppendGap(b.Frames, frame.Gap{Reason: reason, LastEventID: lastID})
}

// Position appends an id without an event. An empty id resets the client's last event id. Position does nothing if the id
// cannot be sent.
func (b *Batch) Position(id []byte) {
	frames, ok := eventstream.AppendID(b.Frames, id)
	if !ok {
		return
	}
	if len(id) == 0 {
		frames = append(frames, "id:\n"...)
	}
	b.Frames = append(frames, '\n')
	b.LastID = append(b.LastID[:0], id...)
}

// Reset empties the batch for the next frames. It does not keep a buffer of more than most bytes.
func (b *Batch) Reset(most int) {
	b.Frames, b.Events = b.Frames[:0], 0
	if cap(b.Frames) > most {
		b.Frames = nil
	}
}
