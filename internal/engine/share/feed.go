package share

import (
	"bytes"
	"slices"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/compress"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/history"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

// feed holds a source's records as frames of one mapping. Each frame is made once and sent to all streams with the same
// mapping and the same history limits.
//
// Streams whose mapping depends on the request build their own frames from the source's log. Their feed has no mapper: it
// makes the source keep all records.
type feed struct {
	key        string
	frames     *history.Log
	compressed compress.Shared // frames, for clients that get them compressed
	failed     atomic.Bool     // a record was refused, so the feed has ended before its source

	usage
	maker
}

// usage says who uses a feed. It is guarded by the source's mu.
type usage struct {
	server  *Server // the newest config with this mapping
	streams int     // the number of streams that are open, or have ended less than linger ago
}

// maker makes a feed's frames. It is guarded by the source's mapping lock, or owned by the goroutine that makes the feed.
type maker struct {
	current *Server         // server at the beginning of the read
	counts  *metrics.Meters // nil if the records were counted already
	mapper  *mapping.Mapper
	ids     *mapping.Mapper // without a mapper: makes the ids that do not depend on the request
	lastID  []byte          // the last id in a frame
	lost    bool            // the first records are lost
	frame   []byte          // scratch
}

// begin starts a read. The source's locks are held.
func (f *feed) begin() {
	f.current = f.server
	f.counts = f.current.report.Meters
	if f.current.stopped.Load() {
		f.counts = nil // the config that takes over counts
	}
}

// take makes an event from a record. It reports whether the event is sent, and returns the id that the mapping gives it.
func (f *feed) take(rec *records.Record, fallbackID []byte) (sent bool, id []byte) {
	if f.failed.Load() {
		return true, nil // keep the record: clients that reconnect get a new feed made from it
	}
	if f.mapper == nil {
		if f.ids != nil {
			id = f.ids.IDOf(rec)
			var sendable bool
			if f.frame, sendable = eventstream.AppendID(f.frame[:0], id); !sendable {
				id = nil // the event is sent without it
			}
		}
		return true, id
	}
	r := f.append(rec, fallbackID)
	if r.Outcome == mapping.Refused {
		f.refuse(rec.Seq, fallbackID)
	}
	if bytes.Equal(r.ID, fallbackID) {
		r.ID = nil
	}
	return r.Outcome == mapping.Sent, r.ID
}

// append adds the frame of a record if the mapping sends the record.
func (f *feed) append(rec *records.Record, fallbackID []byte) (r mapping.Result) {
	f.frame, r = f.mapper.Append(f.frame[:0], rec, fallbackID)
	f.counts.CountMapped(r)
	if r.Outcome == mapping.Sent {
		f.frames.Append(history.Entry{Seq: rec.Seq, ID: r.ID, Bytes: f.frame, Event: true})
		f.lastID = append(f.lastID[:0], r.ID...)
	} else {
		f.frames.Note(rec.Seq)
	}
	return r
}

// gap adds a gap.
func (f *feed) gap(seq uint64, reason string) {
	f.frames.Append(history.Entry{Seq: seq, Bytes: frame.AppendGap(nil, frame.Gap{Reason: reason, LastEventID: string(f.lastID)})})
}

// refuse ends the feed's streams. They get the record's id, so that clients resume after it.
func (f *feed) refuse(seq uint64, id []byte) {
	f.failed.Store(true)
	f.current.report.Failed(upstream.ErrRecordInvalid)
	f.frames.Append(history.Entry{Seq: seq, Bytes: frame.AppendPosition(nil, id)})
	f.frames.Close()
}

// feedFor returns the source's feed for a config's mapping, and adds streams to its count. If there is no feed, it makes one from the
// kept records.
func (s *source) feedFor(c *Server, streams int) *feed {
	if f := s.findFeed(c, streams); f != nil {
		return f
	}
	s.making.Lock()
	defer s.making.Unlock()
	if f := s.findFeed(c, streams); f != nil {
		return f // another goroutine has made it meanwhile
	}
	f := s.newFeed(c)
	s.fill(f)
	defer s.mapping.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	f.streams = streams
	if i := slices.IndexFunc(s.feeds, f.replaces); i >= 0 {
		s.feeds[i] = f
	} else {
		s.feeds = append(s.feeds, f)
	}
	s.fitHistory()
	if s.state == isFinished {
		f.frames.Close()
	}
	return f
}

func (f *feed) replaces(other *feed) bool { return f.key == other.key }

// findFeed returns the running feed for a config's mapping, or nil.
func (s *source) findFeed(c *Server, streams int) *feed {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.feeds {
		if f.key != c.feed || f.failed.Load() {
			continue
		}
		if c.Generation > f.server.Generation {
			f.server = c
		}
		f.streams += streams
		return f
	}
	return nil
}

func (s *source) newFeed(c *Server) *feed {
	global := caddy.NewReplacer().GetString
	f := &feed{key: c.feed, usage: usage{server: c}, maker: maker{current: c}}
	if c.perRequest {
		f.frames = s.records
		f.ids = c.Mapping.BindIDs(global)
		return f
	}
	f.mapper = c.Mapping.Bind(global)
	return f
}

// fill makes a feed's frames from the kept records. When it returns, all records are mapped, and mapping is locked. It does most of its
// work without that lock, while the source continues. If the source is so fast that records leave the history meanwhile, fill starts
// again, and the source waits.
func (s *source) fill(f *feed) {
	if f.mapper == nil {
		s.mapping.Lock()
		return
	}
	reader := s.refill(f)
	defer func() { reader.Close() }()
	whole := f.read(s, reader)
	s.mapping.Lock()
	if whole = whole && f.read(s, reader); !whole {
		reader.Close()
		reader = s.refill(f)
		f.read(s, reader)
	}
	f.frames.Note(s.seq)
	f.frames.Publish()
}

// refill empties a feed's frames and returns a reader of the records to map. It also reads records in the slack: the feed's history may
// offer them, and they show whether its beginning is a gap.
func (s *source) refill(f *feed) *history.Subscriber {
	f.frames, f.lastID = history.New(f.current.Kept), nil
	held := s.records.Held()
	f.lost = held > 0
	f.frames.Missed(s.missed)
	return s.records.Subscribe(held, idle{})
}

// read maps the entries so far. It returns false if some of them were lost.
func (f *feed) read(s *source, reader *history.Subscriber) (whole bool) {
	for rec := new(records.Record); ; {
		entries, state, _ := reader.NextEntries(nil)
		if state != history.Ready {
			return state != history.Lagged
		}
		for _, e := range entries {
			if f.lost {
				f.frames.Missed(e.Seq - 1)
				f.lost = false
			}
			if reason, ok := unpackEntry(e, rec); !ok {
				f.gap(e.Seq, reason)
			} else {
				f.append(rec, s.epochs.appendID(nil, e.Seq))
			}
		}
	}
}

// fitHistory sets the limits of the source's history to the largest ones in the feeds' configs.
func (s *source) fitHistory() {
	var most history.Limits
	for _, f := range s.feeds {
		limits := f.server.Kept
		limits.Count, limits.Size = max(most.Count, limits.Count), max(most.Size, limits.Size)
		most = limits
	}
	s.records.SetLimits(most)
}

// leave removes a stream from its feed.
func (s *source) leave(f *feed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.streams--
	s.dropUnusedFeeds()
}

// dropUnusedFeeds drops the feeds of stopped configs. The feeds of a running config are kept even without a stream, so that all clients
// that reconnect find the same history. The source is locked.
func (s *source) dropUnusedFeeds() {
	before := len(s.feeds)
	s.feeds = slices.DeleteFunc(s.feeds, func(f *feed) bool {
		return f.streams == 0 && f.server != s.server && f.server.stopped.Load()
	})
	if len(s.feeds) < before {
		s.fitHistory()
	}
}

// seqOfUpstreamID returns the number of the only kept record with this id from the upstream. If there are several, or if an earlier one
// may have left the history, ok is false: it is not known which of them the client has seen.
func (s *source) seqOfUpstreamID(id string) (seq uint64, ok bool) {
	reader := s.records.Subscribe(s.records.Held(), idle{})
	defer reader.Close()
	var entries []history.Entry
	rec, first, found := new(records.Record), true, 0
	for {
		var state history.State
		entries, state, _ = reader.NextEntries(entries[:0])
		if state != history.Ready {
			return seq, found == 1 && state != history.Lagged
		}
		for _, e := range entries {
			_, isRecord := unpackEntry(e, rec)
			if isRecord && string(rec.ID) == id {
				if found++; first && e.Seq > 1 {
					return 0, false
				}
				seq = e.Seq
			}
			first = false
		}
	}
}

// idle is the history.Waker of readers that never wait.
type idle struct{}

func (idle) Wake() {}
