package share

import (
	"encoding/binary"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/history"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// A packed record is a byte of flags, its id and event type, each preceded by its length, and its text. Anything else is a
// flag of its own, and what it says: a gap its reason, a failure the record that says so, retry a number. Gaps and records
// are in a source's history, and all of them in a store.
const (
	packedGap = 1 << iota
	packedJSON
	packedOneLine
	packedLine
	packedFailure
	packedRetry
	packedOnce
	packedEmptyID
)

func pack(dst []byte, rec *records.Record) []byte {
	var flags byte
	if rec.WantsJSON {
		flags |= packedJSON
	}
	if rec.OneLine {
		flags |= packedOneLine
	}
	if rec.IsLine {
		flags |= packedLine
	}
	dst = append(dst, flags)
	dst = append(binary.AppendUvarint(dst, uint64(len(rec.ID))), rec.ID...)
	dst = append(binary.AppendUvarint(dst, uint64(len(rec.Event))), rec.Event...)
	return append(dst, rec.Text...)
}

func packGap(dst []byte, reason string) []byte {
	return append(append(dst, packedGap), reason...)
}

// packStored is pack for a store. An empty id, which takes back the one before, can be told from none there.
func packStored(dst []byte, rec *records.Record) []byte {
	at := len(dst)
	dst = pack(dst, rec)
	if rec.ID != nil && len(rec.ID) == 0 {
		dst[at] |= packedEmptyID
	}
	return dst
}

// unpackEntry returns the record of a history's entry, or the reason of a gap.
func unpackEntry(e history.Entry, rec *records.Record) (reason string, isRecord bool) {
	rec.Seq = e.Seq
	return unpack(e.Bytes, rec)
}

// unpack reverses pack, or returns the reason of a gap. What it cannot read is a gap: another version may have written it.
func unpack(data []byte, rec *records.Record) (reason string, isRecord bool) {
	if len(data) == 0 {
		return frame.GapUpstream, false
	}
	flags, rest := data[0], data[1:]
	if flags&packedGap != 0 {
		return string(rest), false
	}
	rec.WantsJSON = flags&packedJSON != 0
	rec.OneLine = flags&packedOneLine != 0
	rec.IsLine = flags&packedLine != 0
	var ok bool
	if rec.ID, rest, ok = cutField(rest); !ok {
		return frame.GapUpstream, false
	}
	if rec.Event, rest, ok = cutField(rest); !ok {
		return frame.GapUpstream, false
	}
	if len(rec.ID) == 0 {
		rec.ID = nil // one that is empty has reset the source's own
	}
	rec.Text = rest
	return "", true
}

// cutField cuts a field off, which is preceded by its length.
func cutField(data []byte) (field, rest []byte, ok bool) {
	n, width := binary.Uvarint(data)
	if width <= 0 || n > uint64(len(data)-width) {
		return nil, nil, false
	}
	data = data[width:]
	return data[:n], data[n:], true
}
