package mapping

import (
	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// Batch gathers the frames of records that leave for a client together. One goroutine uses it at a time.
type Batch struct {
	Mapper *Mapper
	Frames []byte
	Events int    // in Frames
	LastID []byte // of the last event that had one, empty if that reset it
}

// Add appends the frame of a record, if the mapping makes one. See Mapper.Append.
func (b *Batch) Add(rec *records.Record, fallbackID []byte) Result {
	var r Result
	b.Frames, r = b.Mapper.Append(b.Frames, rec, fallbackID)
	if r.Outcome == Sent {
		b.Events++
		if r.ID != nil {
			b.LastID = append(b.LastID[:0], r.ID...) // an empty one takes it back
		}
	}
	return r
}

// Gap appends an sse-gap. The client is told the id that it has last, or lastID if it has none.
func (b *Batch) Gap(reason, lastID string) {
	if len(b.LastID) > 0 {
		lastID = string(b.LastID)
	}
	b.Frames = frame.AppendGap(b.Frames, frame.Gap{Reason: reason, LastEventID: lastID})
}

// Position appends an id without an event. It does nothing if the id cannot be sent.
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

// Reset empties the batch for the next frames. It lets go of memory beyond most bytes.
func (b *Batch) Reset(most int) {
	b.Frames, b.Events = b.Frames[:0], 0
	if cap(b.Frames) > most {
		b.Frames = nil
	}
}
