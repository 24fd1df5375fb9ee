package ssetest

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/encoding/unicode"
)

// Event is an event as a browser dispatches it (WHATWG HTML §9.2.6).
type Event struct {
	ID   string // the stream's last event ID when the event was dispatched
	Type string // "message" if the block names none
	Data string

	HasID bool // the block itself has a valid id field
}

// Parser parses an event stream exactly as WHATWG HTML §9.2.5 and §9.2.6 say, in pieces of any size. It shares no code with the code
// under test. The zero Parser is at the start of a stream.
type Parser struct {
	// Comments are the comment lines so far, without the colon and one space after it.
	Comments []string
	// Ignored are the lines that a client ignores: unknown fields, an id with NUL, a retry that is not a number.
	Ignored []string
	// LastEventID is the Last-Event-ID that the client would send if it reconnected now.
	LastEventID string
	// Retry is the client's reconnection time, if HasRetry.
	Retry    time.Duration
	HasRetry bool

	line    []byte // the line that has not ended yet
	started bool   // the first line, which may begin with a BOM, has ended
	afterCR bool   // an LF now is the second half of a CRLF

	block
	id string // the last event ID buffer, which outlives the block
}

// block has the lines since the last blank line, which become an event.
type block struct {
	open      bool // a field was seen
	data      strings.Builder
	eventType string
	hasID     bool
}

// ParseAll returns the events in a complete event stream.
func ParseAll(stream []byte) []Event {
	var p Parser
	return p.Feed(stream)
}

// Feed parses the next bytes of the stream, and returns the events that they complete.
func (p *Parser) Feed(b []byte) []Event {
	var events []Event
	for len(b) > 0 {
		if p.afterCR && b[0] == '\n' {
			b = b[1:]
		}
		p.afterCR = false
		end := bytes.IndexAny(b, "\r\n")
		if end < 0 {
			p.line = append(p.line, b...)
			return events
		}
		p.line = append(p.line, b[:end]...)
		p.afterCR = b[end] == '\r'
		b = b[end+1:]
		if e, ok := p.endLine(); ok {
			events = append(events, e)
		}
	}
	return events
}

// Pending reports whether the stream is within a line or a block. If it ended now, fields would be lost.
func (p *Parser) Pending() bool { return len(p.line) > 0 || p.open }

func (p *Parser) endLine() (Event, bool) {
	raw := p.line
	p.line = p.line[:0]
	if !p.started {
		p.started = true
		raw = bytes.TrimPrefix(raw, []byte("\uFEFF"))
	}
	// Line ends are ASCII, so the stream can be decoded line by line. Invalid UTF-8 is replaced.
	line, _ := unicode.UTF8.NewDecoder().String(string(raw))
	if line == "" {
		return p.dispatch()
	}
	name, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	if name == "" {
		p.Comments = append(p.Comments, value)
		return Event{}, false
	}
	p.open = true
	switch name {
	case "event":
		p.eventType = value
	case "data":
		p.data.WriteString(value)
		p.data.WriteByte('\n')
	case "id":
		if strings.ContainsRune(value, 0) {
			p.Ignored = append(p.Ignored, line)
			break
		}
		p.id, p.hasID = value, true
	case "retry":
		if strings.Trim(value, "0123456789") != "" {
			p.Ignored = append(p.Ignored, line)
			break
		}
		ms, err := strconv.ParseInt(value, 10, 64)
		if err != nil || ms > int64(1<<63-1)/int64(time.Millisecond) { // not a number, or too large for a timer
			p.Ignored = append(p.Ignored, line)
			break
		}
		p.Retry, p.HasRetry = time.Duration(ms)*time.Millisecond, true
	default:
		p.Ignored = append(p.Ignored, line)
	}
	return Event{}, false
}

func (p *Parser) dispatch() (Event, bool) {
	p.LastEventID = p.id
	e := Event{ID: p.id, Type: p.eventType, Data: p.data.String(), HasID: p.hasID}
	p.open, p.eventType, p.hasID = false, "", false
	p.data.Reset()
	if e.Data == "" {
		return Event{}, false
	}
	e.Data = strings.TrimSuffix(e.Data, "\n")
	if e.Type == "" {
		e.Type = "message"
	}
	return e, true
}
