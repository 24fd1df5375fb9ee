package sse

import (
	"encoding/json"
	"errors"
)

// Control events. A client that does not listen for their types never notices them.
const (
	eventError = "sse-error" // the upstream failed in mid-stream
	eventGap   = "sse-gap"   // records were lost to this client
)

// terminalID is the id of the event that ends a stream for good: a client that comes back with it is told to
// stay away. It cannot be taken for "<epoch>-<n>" or for a place in a file, as neither part is a number.
const terminalID = "sse-end"

// Reasons of a gap.
const (
	gapRecordTooLarge = "record_too_large" // a record was larger than max_record_size
	gapHistory        = "history"          // the history does not hold the client's Last-Event-ID
	gapLag            = "lag"              // the client fell behind the history
	gapUpstream       = "upstream"         // the upstream could not go on where it was
)

// gap is the data of an sse-gap. Ids are JSON strings, so that no id can break out of its line.
type gap struct {
	Reason      string `json:"reason"`
	LastEventID string `json:"last_event_id,omitempty"`
	OldestID    string `json:"oldest_id,omitempty"`
}

func appendGap(dst []byte, g gap) []byte {
	// Whatever a client calls its Last-Event-ID, it gets no more back than an id of ours would have.
	const longest = 256
	if len(g.LastEventID) > longest {
		g.LastEventID = g.LastEventID[:longest]
	}
	return appendControl(dst, eventGap, g)
}

func appendError(dst []byte, reason string) []byte {
	return appendControl(dst, eventError, gap{Reason: reason})
}

func appendControl(dst []byte, name string, data any) []byte {
	text, err := json.Marshal(data)
	if err != nil {
		panic(err) // strings only: cannot be
	}
	dst, _ = AppendType(dst, []byte(name))
	return AppendData(dst, text)
}

// conclude says why the stream ends, if nobody has before, after its upstream has ended with err. It returns what
// is to be sent last, and how many events that is.
func (s *stream) conclude(err error) (tail []byte, events int) {
	if err != nil && s.request.Context().Err() != nil {
		s.end(endClientGone) // its watch may not have come to it yet
	}
	reason := endUpstreamEnd
	switch {
	case endedCleanly(err):
	case errors.Is(err, errRecordTooLarge):
		reason = endRecordTooLarge
	default:
		reason = endUpstreamError
	}
	if !s.reason.CompareAndSwap(nil, &reason) {
		return nil, 0 // the upstream ended because the stream did
	}
	h := s.handler
	if reason != endUpstreamEnd {
		if s.behind == nil { // a source that many share has said it, once
			s.warnUpstream(err)
		}
		said := reason
		if errors.Is(err, errRecordInvalid) {
			said = "invalid_record"
		}
		return appendError(nil, said), 0
	}
	if h.endFrame == nil {
		return nil, 0
	}
	return h.endFrame[:len(h.endFrame):len(h.endFrame)], 1
}
