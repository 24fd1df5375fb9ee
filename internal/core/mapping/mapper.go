package mapping

import (
	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// Outcome is the result of mapping a record.
type Outcome uint8

const (
	Sent        Outcome = iota
	Filtered            // not sent: where is false
	WhereFailed         // not sent: where failed, for example because a key is missing
	Invalid             // not sent: it does not fit format or Parse, and OnInvalid is Skip
	Refused             // the stream ends: it does not fit format or Parse, and OnInvalid is Fail
)

// Result is the result of Append. It has four fields in four words, so the compiler can keep it in registers.
type Result struct {
	// ID is the id in the frame. It is nil if the frame has none, and empty if it resets the client's last event id. It is
	// valid until dst is changed.
	ID []byte

	Outcome Outcome

	// IDDropped and EventDropped say that the record had an id or event type that cannot be sent.
	IDDropped, EventDropped bool
}

// Whole reports whether the record was sent with all its fields.
func (r Result) Whole() bool { return r.Outcome == Sent && !r.IDDropped && !r.EventDropped }

// Mapper turns records into frames. Only one goroutine may use it at a time.
type Mapper struct {
	reader
	data, event, id *Template
	where           *Filter
	onInvalid       OnInvalid
	plain           bool // the record's text is the data, and no option needs anything else

	scratch []byte
}

// keptScratch is the largest buffer that is kept for the next record. There are many streams, but few large records.
const keptScratch = 64 << 10

// Append appends the frame of the record's event. The event gets fallbackID if neither the config nor the upstream gives it an
// id that can be sent.
func (m *Mapper) Append(dst []byte, rec *records.Record, fallbackID []byte) ([]byte, Result) {
	if m.plain && rec.ID == nil && len(rec.Event) == 0 && len(fallbackID) == 0 {
		return appendRecordData(dst, rec), Result{}
	}

	if fits := m.reset(rec); !fits && m.onInvalid != Pass {
		if m.onInvalid == Fail {
			return dst, Result{Outcome: Refused}
		}
		return dst, Result{Outcome: Invalid}
	}
	if m.where != nil {
		matches, err := m.where.Match(&m.document)
		if err != nil {
			return dst, Result{Outcome: WhereFailed}
		}
		if !matches {
			return dst, Result{Outcome: Filtered}
		}
	}

	var r Result
	dst, r.ID, r.IDDropped = m.appendID(dst, rec, fallbackID)
	dst, r.EventDropped = m.appendType(dst, rec)
	if m.data.IsRecord() {
		if m.document.IsParsed() {
			return eventstream.AppendDataLine(dst, m.document.Text()), r
		}
		return appendRecordData(dst, rec), r
	}
	m.scratch = m.data.Append(m.scratch[:0], &m.document)
	dst = eventstream.AppendData(dst, m.scratch)
	if cap(m.scratch) > keptScratch {
		m.scratch = nil
	}
	return dst, r
}

// reset makes rec the mapper's document, and reports whether it fits format and Parse. It checks for JSON only if that matters.
func (m *Mapper) reset(rec *records.Record) (fits bool) {
	fits = m.read(rec)
	if m.parser != nil && rec.IsLine {
		return fits
	}
	return !rec.WantsJSON || m.onInvalid == Pass || m.document.IsJSON()
}

func (m *Mapper) appendID(dst []byte, rec *records.Record, fallbackID []byte) (out, id []byte, dropped bool) {
	id = rec.ID
	if m.id != nil {
		m.scratch = m.id.Append(m.scratch[:0], &m.document)
		id = m.scratch
	}
	start := len(dst)
	dst, ok := eventstream.AppendID(dst, id)
	if len(dst) == start {
		dst, _ = eventstream.AppendID(dst, fallbackID)
	}
	if len(dst) == start && m.id == nil && rec.ID != nil && len(rec.ID) == 0 {
		return append(dst, "id:\n"...), []byte{}, !ok // the upstream resets the id
	}
	if len(dst) == start {
		return dst, nil, !ok
	}
	return dst, dst[start+len("id: ") : len(dst)-1], !ok
}

// GivesIDs reports whether the config has an id template.
func (m *Mapper) GivesIDs() bool { return m.id != nil }

// IDOf returns the record's id from the config, or else from the upstream. It is valid until the mapper's next use.
func (m *Mapper) IDOf(rec *records.Record) []byte {
	if m.id == nil {
		return rec.ID
	}
	m.reset(rec)
	m.scratch = m.id.Append(m.scratch[:0], &m.document)
	return m.scratch
}

func (m *Mapper) appendType(dst []byte, rec *records.Record) (out []byte, dropped bool) {
	name := rec.Event
	if m.event != nil {
		m.scratch = m.event.Append(m.scratch[:0], &m.document)
		name = m.scratch
	}
	if string(name) == frame.TypeError || string(name) == frame.TypeGap {
		return dst, true // only the server sends these
	}
	dst, ok := eventstream.AppendType(dst, name)
	return dst, !ok
}

func appendRecordData(dst []byte, rec *records.Record) []byte {
	if rec.OneLine {
		return eventstream.AppendDataLine(dst, rec.Text)
	}
	return eventstream.AppendData(dst, rec.Text)
}
