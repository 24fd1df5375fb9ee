package sse

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/history"
)

// feed is a source's records as frames of one mapping: each is made once and sent to all streams that map alike, and
// want as long a history.
//
// Streams whose mapping depends on their request make frames for themselves, of the source's own log. Their feed has
// no mapper: it is there so that all records are kept.
type feed struct {
	handler *Handler // the newest config that maps so
	mapper  *mapper
	ids     *mapper // without a mapper: gives records their ids, if these depend on no request
	frames  *history.Log
	streams int    // those that are open, or have been less than their linger ago
	lastID  []byte // of the last frame that had one
	frame   []byte // scratch
	err     error  // why it ended before its source
}

// take makes an event of a record; it returns whether there is one, and the id that the mapping gives it.
func (f *feed) take(rec *record, fallbackID []byte) (sent bool, id []byte) {
	if f.err != nil {
		return true, nil // for those who come back, and get another feed
	}
	if f.mapper == nil {
		if f.ids != nil {
			id = f.ids.idOf(rec)
			var sendable bool
			if f.frame, sendable = AppendID(f.frame[:0], id); !sendable {
				id = nil // the event goes out without it
			}
		}
		return true, id
	}
	f.mapper.silent = f.handler.stopped.Load() // who takes over counts
	v, id := f.append(rec, fallbackID)
	if v == isRefused {
		f.refuse(rec.seq, fallbackID)
	}
	if bytes.Equal(id, fallbackID) {
		id = nil
	}
	return v == isSent, id
}

// append adds the frame of a record, if the mapping makes one.
func (f *feed) append(rec *record, fallbackID []byte) (v verdict, id []byte) {
	f.frame, id, v = f.mapper.appendFrame(f.frame[:0], rec, fallbackID)
	if v == isSent {
		f.frames.Append(history.Entry{Seq: rec.seq, ID: id, Bytes: f.frame, Event: true})
		f.lastID = append(f.lastID[:0], id...)
	} else {
		f.frames.Note(rec.seq)
	}
	return v, id
}

// gap adds a gap.
func (f *feed) gap(seq uint64, reason string) {
	f.frames.Append(history.Entry{Seq: seq, Bytes: appendGap(nil, gap{Reason: reason, LastEventID: string(f.lastID)})})
}

// refuse ends the feed's streams. They are told the record's id, so that those who come back go on after it.
func (f *feed) refuse(seq uint64, id []byte) {
	f.err = errRecordInvalid
	f.handler.warnUpstream(f.err)
	f.frames.Append(history.Entry{Seq: seq, Bytes: appendPlace(nil, id)})
	f.frames.Close()
}

// appendPlace appends a block that tells a client where its stream stands, without an event.
func appendPlace(dst, id []byte) []byte {
	dst, _ = AppendID(dst, id)
	return append(dst, '\n')
}

// keyOfFeed tells feeds of one source apart. Where the mapping depends on the request, all that a feed does is to give
// ids.
func (h *Handler) keyOfFeed() string {
	mapping := Key("shared", *h.Data, h.Event, h.ID, h.Where, h.OnInvalid)
	if h.perClient {
		mapping = Key("per client", h.ID)
	}
	return Key(mapping, strconv.Itoa(h.Share.History), strconv.FormatInt(h.Share.HistorySize, 10))
}

// feedFor finds the source's feed for a handler's mapping, or makes it of the records that are kept. The source
// is locked.
func (s *source) feedFor(h *Handler) *feed {
	f, ok := s.feeds[h.feedKey]
	if !ok || f.err != nil {
		f = s.newFeed(h)
		s.feeds[h.feedKey] = f
		s.fitHistory()
	}
	if h.generation > f.handler.generation {
		f.handler = h
		if f.mapper != nil {
			f.mapper.counts = h.meters
		}
	}
	return f
}

func (s *source) newFeed(h *Handler) *feed {
	global := caddy.NewReplacer().GetString
	f := &feed{handler: h}
	if h.perClient {
		f.frames = s.records
		if ids := (templates{data: h.templates.data, id: h.templates.id}); ids.id != nil && !dependsOnRequest(ids.id.Placeholders()) {
			f.ids = ids.bind(global)
		}
		return f
	}
	f.mapper, f.frames = h.templates.bind(global), history.New(h.Share.limits())
	f.mapper.silent = true // they were counted when they came
	// What the records' own history no longer offers may be in this one, or be what tells its beginning from a gap.
	held := s.records.Held()
	lost := held > 0
	reader := s.records.Subscribe(held, idle{})
	defer reader.Close()
	for rec := new(record); ; {
		entries, state, _ := reader.NextEntries(nil)
		if state != history.Ready {
			break
		}
		for _, e := range entries {
			if lost {
				f.frames.Missed(e.Seq - 1)
				lost = false
			}
			if reason, ok := unpack(e, rec); !ok {
				f.gap(e.Seq, reason)
			} else {
				f.append(rec, s.appendID(nil, e.Seq))
			}
		}
	}
	f.frames.Note(s.seq)
	f.frames.Publish()
	if s.state == isFinished {
		f.frames.Close()
	}
	return f
}

// fitHistory keeps as many records as the feeds' configs want.
func (s *source) fitHistory() {
	var most history.Limits
	for _, f := range s.feeds {
		limits := f.handler.Share.limits()
		limits.Count, limits.Size = max(most.Count, limits.Count), max(most.Size, limits.Size)
		most = limits
	}
	s.records.SetLimits(most)
}

// leave lets go of a stream's feed.
func (s *source) leave(f *feed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.streams--
	s.dropUnusedFeeds()
}

// dropUnusedFeeds forgets the mappings of former configs. Those of a config that runs are kept without a stream, so
// that what is in the history is the same for all who come back to it. The source is locked.
func (s *source) dropUnusedFeeds() {
	for key, f := range s.feeds {
		if f.streams == 0 && f.handler != s.handler && f.handler.stopped.Load() {
			delete(s.feeds, key)
			s.fitHistory()
		}
	}
}

// appendID appends the id of the record with that number, if it has no other.
func (s *source) appendID(dst []byte, seq uint64) []byte {
	return strconv.AppendUint(append(append(dst, s.epoch...), '-'), seq, 10)
}

// seqOf is the reverse of appendID.
func (s *source) seqOf(id string) (seq uint64, ok bool) {
	epoch, number, ok := strings.Cut(id, "-")
	if !ok || epoch != s.epoch {
		return 0, false
	}
	seq, err := strconv.ParseUint(number, 10, 64)
	return seq, err == nil
}

// idle is the history.Waker of a reader that never waits.
type idle struct{}

func (idle) Wake() {}

// dependsOnRequest is whether any of these placeholders may have another value for another request. The prefixes
// are those of Caddy's own placeholders that have none.
func dependsOnRequest(placeholders []string) bool {
	return slices.ContainsFunc(placeholders, func(name string) bool {
		for _, global := range []string{"env.", "system.", "time.", "file."} {
			if strings.HasPrefix(name, global) {
				return false
			}
		}
		return true
	})
}

// A packed record is a byte of flags, its id and event type, each preceded by its length, and its text. A packed gap
// is the flag and its reason.
const (
	packedGap = 1 << iota
	packedJSON
	packedOneLine
)

func pack(dst []byte, rec *record) []byte {
	var flags byte
	if rec.wantsJSON {
		flags |= packedJSON
	}
	if rec.OneLine {
		flags |= packedOneLine
	}
	dst = append(dst, flags)
	dst = append(binary.AppendUvarint(dst, uint64(len(rec.ID))), rec.ID...)
	dst = append(binary.AppendUvarint(dst, uint64(len(rec.Event))), rec.Event...)
	return append(dst, rec.Text...)
}

func packGap(dst []byte, reason string) []byte {
	return append(append(dst, packedGap), reason...)
}

// unpack reverses pack, or returns the reason of a gap.
func unpack(e history.Entry, rec *record) (reason string, isRecord bool) {
	flags, rest := e.Bytes[0], e.Bytes[1:]
	if flags&packedGap != 0 {
		return string(rest), false
	}
	field := func() []byte {
		n, width := binary.Uvarint(rest)
		value := rest[width : width+int(n)]
		rest = rest[width+int(n):]
		return value
	}
	rec.seq = e.Seq
	rec.wantsJSON = flags&packedJSON != 0
	rec.OneLine = flags&packedOneLine != 0
	if rec.ID = field(); len(rec.ID) == 0 {
		rec.ID = nil // one that is empty has reset the source's own
	}
	rec.Event = field()
	rec.Text = rest
	return "", true
}
