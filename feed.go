package sse

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/seed-4dedbcea/caddy-sse/internal/history"
)

// feed is a source's records as frames of one mapping: each is made once and sent to all streams that map alike.
type feed struct {
	mapper  *mapper
	frames  *history.Log
	streams int
	frame   []byte // scratch
	err     error  // why it ended before its source
}

// append makes an event of a record; it returns whether there is one, and its id.
func (f *feed) append(rec *record, fallbackID []byte) (sent bool, id []byte) {
	if f.err != nil {
		return false, nil
	}
	var v verdict
	f.frame, id, v = f.mapper.appendFrame(f.frame[:0], rec, fallbackID)
	switch v {
	case isSent:
		f.frames.Append(history.Entry{Seq: rec.seq, ID: id, Bytes: f.frame, Event: true})
		return true, id
	case isRefused:
		f.err = errRecordInvalid
		f.frames.Close()
	default:
		f.frames.Note(rec.seq)
	}
	return false, nil
}

// feedFor finds the source's feed for a handler's mapping, or makes it of the records that are kept. The source
// is locked.
func (s *source) feedFor(h *Handler) *feed {
	if f, ok := s.feeds[h.mappingKey]; ok && f.err == nil {
		return f
	}
	f := &feed{
		mapper: h.templates.bind(caddy.NewReplacer().GetString),
		frames: history.New(h.Share.limits()),
	}
	reader := s.records.Subscribe(s.records.Oldest(), idle{})
	defer reader.Close()
	for rec := new(record); ; {
		entries, state, _ := reader.NextEntries(nil)
		if state != history.Ready {
			break
		}
		for _, e := range entries {
			if block, ok := unpack(e, rec); !ok {
				f.frames.Append(history.Entry{Seq: e.Seq, Bytes: block})
			} else {
				f.append(rec, s.appendID(nil, e.Seq))
			}
		}
	}
	f.frames.Note(s.seq)
	f.frames.Publish()
	if s.state == isOver {
		f.frames.Close()
	}
	s.feeds[h.mappingKey] = f
	return f
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

// dropUnusedFeeds forgets the mappings of former configs. The source is locked.
func (s *source) dropUnusedFeeds() {
	for key, f := range s.feeds {
		if f.streams == 0 && key != s.handler.mappingKey {
			delete(s.feeds, key)
		}
	}
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

// A packed record is a byte of flags, its id and event type, each preceded by its length, and its text. A packed
// control event is the flag and its frame.
const (
	packedControl = 1 << iota
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

func packControl(dst, block []byte) []byte {
	return append(append(dst, packedControl), block...)
}

// unpack reverses pack, or returns the frame of a control event.
func unpack(e history.Entry, rec *record) (block []byte, isRecord bool) {
	flags, rest := e.Bytes[0], e.Bytes[1:]
	if flags&packedControl != 0 {
		return rest, false
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
	rec.ID = field()
	rec.Event = field()
	rec.Text = rest
	return nil, true
}
