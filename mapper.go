package sse

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// templates is what a config says of how a record becomes an event. It is compiled when the config loads and
// bound, once for a stream or once for all that share it, to the values of its placeholders.
type templates struct {
	data      *mapping.Template
	event, id *mapping.Template // nil: none
	where     *mapping.Where    // nil: every record
	onInvalid string
	counts    *meters
}

// placeholders are the names of all Caddy placeholders in the templates and the expression.
func (t *templates) placeholders() []string {
	names := t.data.Placeholders()
	if t.event != nil {
		names = append(names, t.event.Placeholders()...)
	}
	if t.id != nil {
		names = append(names, t.id.Placeholders()...)
	}
	if t.where != nil {
		names = append(names, t.where.Placeholders()...)
	}
	return names
}

// bind evaluates the placeholders once and for all. What a client has sent need not be UTF-8, as events must be.
func (t *templates) bind(find func(name string) (string, bool)) *mapper {
	lookup := func(name string) (string, bool) {
		value, known := find(name)
		return strings.ToValidUTF8(value, "\uFFFD"), known
	}
	m := &mapper{data: t.data.Bind(lookup), onInvalid: t.onInvalid, counts: t.counts}
	if t.event != nil {
		m.event = t.event.Bind(lookup)
	}
	if t.id != nil {
		m.id = t.id.Bind(lookup)
	}
	if t.where != nil {
		m.where = t.where.Bind(lookup)
	}
	m.plain = m.data.IsRecord() && m.event == nil && m.id == nil && m.where == nil && m.onInvalid == onInvalidPass
	return m
}

// verdict is what becomes of a record.
type verdict uint8

const (
	isSent     verdict = iota
	isFiltered         // where said no
	isDropped          // where failed, or on_invalid skip
	isRefused          // on_invalid error: the stream ends
)

// mapper makes frames of records. One goroutine uses it at a time.
type mapper struct {
	data, event, id *mapping.Template
	where           *mapping.Filter
	onInvalid       string
	plain           bool // the record's text is the data, and there is nothing else to work out
	counts          *meters
	silent          bool // what it drops has been counted

	record  mapping.Record
	scratch []byte
}

// appendFrame appends the event that rec becomes. id is nil if it has none, and empty if it resets the client's last id.
// fallbackID is the id of an event to which neither config nor
// upstream gives one that can be sent.
func (m *mapper) appendFrame(dst []byte, rec *record, fallbackID []byte) (out, id []byte, v verdict) {
	if m.plain && rec.ID == nil && len(rec.Event) == 0 && len(fallbackID) == 0 {
		return appendRecordData(dst, &rec.Record), nil, isSent
	}

	m.record.Reset(rec.Text, rec.seq)
	if rec.wantsJSON && m.onInvalid != onInvalidPass && !m.record.IsJSON() {
		m.count(m.counts.recordsDropped.invalid)
		if m.onInvalid == onInvalidError {
			return dst, nil, isRefused
		}
		return dst, nil, isDropped
	}
	if m.where != nil {
		matches, err := m.where.Match(&m.record)
		if err != nil {
			m.count(m.counts.recordsDropped.whereFailed)
			return dst, nil, isDropped
		}
		if !matches {
			m.count(m.counts.recordsFiltered)
			return dst, nil, isFiltered
		}
	}

	dst, id = m.appendID(dst, rec, fallbackID)
	dst = m.appendType(dst, rec)
	if m.data.IsRecord() {
		return appendRecordData(dst, &rec.Record), id, isSent
	}
	m.scratch = m.data.Append(m.scratch[:0], &m.record)
	return eventstream.AppendData(dst, m.scratch), id, isSent
}

func (m *mapper) count(c prometheus.Counter) {
	if !m.silent {
		c.Inc()
	}
}

func (m *mapper) appendID(dst []byte, rec *record, fallbackID []byte) (out, id []byte) {
	id = rec.ID
	if m.id != nil {
		m.scratch = m.id.Append(m.scratch[:0], &m.record)
		id = m.scratch
	}
	start := len(dst)
	dst, ok := eventstream.AppendID(dst, id)
	if !ok {
		m.count(m.counts.fieldsDropped.id)
	}
	if len(dst) == start {
		dst, _ = eventstream.AppendID(dst, fallbackID)
	}
	if len(dst) == start && m.id == nil && rec.ID != nil && len(rec.ID) == 0 {
		return append(dst, "id:\n"...), []byte{} // the upstream resets it
	}
	if len(dst) == start {
		return dst, nil
	}
	return dst, dst[start+len("id: ") : len(dst)-1]
}

// idOf is the id that the record is given by config or upstream. It is valid until the mapper's next use.
func (m *mapper) idOf(rec *record) []byte {
	if m.id == nil {
		return rec.ID
	}
	m.record.Reset(rec.Text, rec.seq)
	m.scratch = m.id.Append(m.scratch[:0], &m.record)
	return m.scratch
}

func (m *mapper) appendType(dst []byte, rec *record) []byte {
	name := rec.Event
	if m.event != nil {
		m.scratch = m.event.Append(m.scratch[:0], &m.record)
		name = m.scratch
	}
	if string(name) == frame.TypeError || string(name) == frame.TypeGap {
		m.count(m.counts.fieldsDropped.event) // these are ours: an upstream cannot say them
		return dst
	}
	dst, ok := eventstream.AppendType(dst, name)
	if !ok {
		m.count(m.counts.fieldsDropped.event)
	}
	return dst
}

func appendRecordData(dst []byte, rec *records.Record) []byte {
	if rec.OneLine {
		return eventstream.AppendDataLine(dst, rec.Text)
	}
	return eventstream.AppendData(dst, rec.Text)
}
