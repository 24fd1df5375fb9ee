package main

import (
	"bytes"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/bench/internal/histogram"
	"github.com/seed-4dedbcea/caddy-sse/bench/internal/record"
)

// maxLine is the most bytes of an unfinished line that are kept.
const maxLine = 1 << 20

// expect describes the response that each client must receive.
type expect struct {
	ndjson    bool // each line is a record, instead of an event stream
	mapped    bool // each event has the record's type and number as event and id
	fromFirst bool // the first record received is the stream's first
	size      int  // bytes of a record with its line feed
	coding    string
}

// counters are the totals of all clients in a phase.
type counters struct {
	Events   uint64 `json:"events"`   // complete records
	Lost     uint64 `json:"lost"`     // numbers skipped
	Doubled  uint64 `json:"doubled"`  // numbers that came again, or were too low
	Bad      uint64 `json:"bad"`      // invalid parts of a stream, and records that were changed
	Controls uint64 `json:"controls"` // sse-gap and sse-error events
	Comments uint64 `json:"comments"`
	Bytes    uint64 `json:"bytes"` // received from the socket, framing included
	Reads    uint64 `json:"reads"` // system calls that received them

	latency histogram.Histogram
}

// parser parses the body of one client, in pieces of any size (WHATWG HTML §9.2.6). Parts that no server under test has a reason to
// send, such as a lone CR as a line end, a second data line, or an unknown field, count as bad.
type parser struct {
	rest    []byte // an unfinished line
	started bool
	last    int64 // number of the last record, 0 before the first

	// the event being read
	n, t      int64
	id        int64
	hasData   bool
	typed     bool
	isControl bool
}

// feed reads the next piece of the body, received at now.
func (p *parser) feed(b []byte, now int64, e *expect, c *counters) {
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			if len(p.rest)+len(b) > maxLine {
				c.Bad++
				p.rest = p.rest[:0]
				return
			}
			p.rest = append(p.rest, b...)
			return
		}
		line := b[:i]
		if len(p.rest) > 0 {
			p.rest = append(p.rest, line...)
			p.line(p.rest, now, e, c)
			p.rest = p.rest[:0]
		} else {
			p.line(line, now, e, c)
		}
		b = b[i+1:]
	}
}

func (p *parser) line(line []byte, now int64, e *expect, c *counters) {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	if bytes.IndexByte(line, '\r') >= 0 {
		c.Bad++
		return
	}
	if e.ndjson {
		switch {
		case len(line) == 0:
		case p.record(line, e):
			p.count(now, e, c)
		default:
			c.Bad++
		}
		return
	}
	if !p.started {
		p.started = true
		line = bytes.TrimPrefix(line, []byte("\xEF\xBB\xBF"))
	}
	if len(line) == 0 {
		p.dispatch(now, e, c)
		return
	}
	name, value, colon := line, []byte(nil), bytes.IndexByte(line, ':')
	if colon >= 0 {
		name, value = line[:colon], line[colon+1:]
		if len(value) > 0 && value[0] == ' ' {
			value = value[1:]
		}
	}
	switch string(name) {
	case "data":
		switch {
		case p.isControl:
		case p.hasData, len(value) > 0 && !p.record(value, e):
			c.Bad++
		default:
			p.hasData = len(value) > 0
		}
	case "":
		c.Comments++
	case "event":
		p.typed = string(value) == record.Type
		p.isControl = string(value) == "sse-gap" || string(value) == "sse-error"
	case "id":
		p.id, _ = record.Digits(value)
	case "retry":
		if _, ok := record.Digits(value); !ok {
			c.Bad++
		}
	default:
		c.Bad++
	}
}

// dispatch ends an event at its blank line. Without data, there is no event.
func (p *parser) dispatch(now int64, e *expect, c *counters) {
	switch {
	case p.isControl:
		c.Controls++
	case !p.hasData:
	case e.mapped && (!p.typed || p.id != p.n):
		c.Bad++
		fallthrough
	default:
		p.count(now, e, c)
	}
	p.hasData, p.typed, p.isControl, p.id = false, false, false, 0
}

func (p *parser) record(b []byte, e *expect) bool {
	n, t, err := record.Parse(b)
	if err != nil || len(b) != e.size-1 {
		return false
	}
	p.n, p.t = n, t
	return true
}

// count checks the number of a complete record.
func (p *parser) count(now int64, e *expect, c *counters) {
	switch {
	case p.n == p.last+1, p.last == 0 && (!e.fromFirst || p.n == record.First):
		p.last = p.n
	case p.last == 0:
		c.Lost += uint64(p.n - record.First)
		p.last = p.n
	case p.n > p.last:
		c.Lost += uint64(p.n - p.last - 1)
		p.last = p.n
	default:
		c.Doubled++
	}
	c.Events++
	c.latency.Add(time.Duration(now - p.t))
}
