package share

import (
	"encoding/binary"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/history"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// A packed record is a byte of flags, its id and its event type, each after its length, and its text. Other entries have a flag of their
// own before their content: the reason of a gap, the record of a failure, or the number of a retry. A source's history has records
// and gaps. A store has all of them.
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

// packStored is pack for a store. It distinguishes an empty id, which resets the last one, from no id.
func packStored(dst []byte, rec *records.Record) []byte {
	at := len(dst)
	dst = pack(dst, rec)
	if rec.ID != nil && len(rec.ID) == 0 {
		dst[at] |= packedEmptyID
	}
	return dst
}

// unpackEntry returns the record in an entry of a history, or the reason of a gap.
func unpackEntry(e history.Entry, rec *records.Record) (reason string, isRecord bool) {
	rec.Seq = e.Seq
	return unpack(e.Bytes, rec)
}

// unpack parses an entry made by pack, or returns the reason of a gap. An entry that it does not understand, perhaps from another version,
// is a gap.
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
		rec.ID = nil // an empty id has been applied to the source already
	}
	rec.Text = rest
	return "", true
}

// cutField cuts off a field after its length.
func cutField(data []byte) (field, rest []byte, ok bool) {
	n, width := binary.Uvarint(data)
	if width <= 0 || n > uint64(len(data)-width) {
		return nil, nil, false
	}
	data = data[width:]
	return data[:n], data[n:], true
}
