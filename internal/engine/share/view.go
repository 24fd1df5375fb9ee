package share

import (
	"net/http"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/history"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// view is a source's history for one stream. It has the frames of a shared feed or, if the mapping depends on the request, records that
// are mapped for this stream alone.
type view struct {
	server *Server
	source *source
	feed   *feed
	batch  mapping.Batch // has no mapper if the frames are the feed's

	rec      records.Record
	entries  []history.Entry // scratch
	fallback []byte          // scratch
}

func newView(c *Server, r *http.Request, src *source) *view {
	v := &view{server: c, source: src}
	if c.perRequest {
		v.batch.Mapper = c.Mapping.Bind(argument.Lookup(r))
	}
	v.feed = src.feedFor(c, 1)
	return v
}

// leave releases the source after linger.
func (v *view) leave(linger time.Duration) {
	sources.release(v.server, v.source, v.feed, linger)
}

// beginning is the position in the history at which a stream begins.
type beginning struct {
	at      history.Cursor
	told    uint64 // the number of the record before at
	opening []byte // the first frames: a gap if events are lost, and an id to resume from before the first event
	lost    bool
}

// beginning returns the position at which the stream begins.
func (v *view) beginning(lastID string, opened bool) (p beginning) {
	if lastID != "" {
		var found bool
		p.at, found = v.find(lastID)
		p.lost = !found
		v.batch.LastID = v.canonical(lastID)
	} else {
		p.at = v.replayed()
	}
	if opened && (p.lost || lastID == "") {
		p.at = 0 // even if there is more already than the history keeps
	}
	if p.lost || lastID == "" {
		v.batch.LastID = v.standing(p.at)
	}
	p.told = v.feed.frames.Number(p.at)
	if p.lost { // the gap comes first: a client that is cut off after the id resumes there, and must know of the gap
		p.opening = frame.AppendGap(nil, frame.Gap{Reason: frame.GapHistory, LastEventID: lastID, OldestID: v.oldestID()})
	}
	p.opening = frame.AppendPosition(p.opening, v.batch.LastID)
	return p
}

// replayed returns the position of the first event for a client without an id.
func (v *view) replayed() history.Cursor {
	if v.server.Replay < 0 {
		return v.feed.frames.Oldest()
	}
	return v.tail(v.server.Replay)
}

// tail is history.Log.Tail, but counts only events that this stream's mapping sends.
func (v *view) tail(replay int) (at history.Cursor) {
	if v.batch.Mapper == nil || replay == 0 {
		return v.feed.frames.Tail(replay)
	}
	var events []history.Cursor
	v.each(func(place history.Cursor) bool {
		if _, sent := v.mapped(); sent {
			events = append(events, place)
		}
		return true
	})
	if len(events) == 0 {
		return v.feed.frames.Tail(0)
	}
	return events[max(0, len(events)-replay)]
}

// find returns the position after the event with this id.
func (v *view) find(id string) (at history.Cursor, ok bool) {
	if seq, ok := v.source.epochs.seqOf(id); ok {
		return v.feed.frames.AfterSeq(seq)
	}
	if v.batch.Mapper != nil {
		at, ok = v.findMapped(id)
	} else {
		at, ok = v.feed.frames.AfterID(id)
	}
	if ok || v.server.Mapping.GivesIDs() || v.feed.frames.HasID(id) {
		return at, ok
	}
	// The client may have the event from the mapping of an earlier config, while the current one leaves it out.
	if seq, ok := v.source.seqOfUpstreamID(id); ok {
		return v.feed.frames.AfterSeq(seq)
	}
	return at, false
}

// findMapped is history.Log.AfterID for ids that come from this stream's own mapping.
func (v *view) findMapped(id string) (at history.Cursor, ok bool) {
	oldest := v.feed.frames.Oldest()
	runs, within := 0, false
	whole := v.each(func(place history.Cursor) bool {
		given, sent := v.mapped()
		if !sent {
			return true
		}
		before := within
		if within = string(given) == id; within && !before {
			at = place + 1
			runs++
		}
		return true
	})
	if runs != 1 || !whole {
		return oldest, false
	}
	return at, true
}

// mapped returns the id of v.rec's event for this stream, and whether it is sent. It does not count metrics.
func (v *view) mapped() (id []byte, sent bool) {
	v.fallback = v.source.epochs.appendID(v.fallback[:0], v.rec.Seq)
	var r mapping.Result
	v.batch.Frames, r = v.batch.Mapper.Append(v.batch.Frames[:0], &v.rec, v.fallback)
	return r.ID, r.Outcome == mapping.Sent
}

// each calls do for each record in the history until do returns false. v.rec is the record at place. each returns false if a record has
// left the history meanwhile.
func (v *view) each(do func(place history.Cursor) bool) (whole bool) {
	place := v.feed.frames.Oldest()
	reader := v.feed.frames.Subscribe(place, idle{})
	defer reader.Close()
	for {
		var state history.State
		if v.entries, state, _ = reader.NextEntries(v.entries[:0]); state != history.Ready {
			return state != history.Lagged
		}
		for _, e := range v.entries {
			if _, isRecord := unpackEntry(e, &v.rec); isRecord && !do(place) {
				return true
			}
			place++
		}
	}
}

// standing returns the id of the last event before this position.
func (v *view) standing(at history.Cursor) []byte {
	if id, _ := v.feed.frames.Before(at); id != "" {
		return []byte(id)
	}
	return v.source.epochs.appendID(nil, v.feed.frames.Number(at))
}

// canonical returns an id in the form in which this server writes it.
func (v *view) canonical(id string) []byte {
	if seq, ok := v.source.epochs.seqOf(id); ok {
		return v.source.epochs.appendID(nil, seq)
	}
	return []byte(id)
}

// oldestID returns the id of the oldest event in the history for this stream.
func (v *view) oldestID() (oldest string) {
	if v.batch.Mapper != nil {
		v.each(func(history.Cursor) bool {
			id, sent := v.mapped()
			if sent {
				oldest = string(id)
			}
			return !sent
		})
		return oldest
	}
	stats := v.feed.frames.Stats()
	if stats.Events == 0 {
		return ""
	}
	if stats.OldestID != "" {
		return stats.OldestID
	}
	return string(v.source.epochs.appendID(nil, stats.OldestSeq))
}
