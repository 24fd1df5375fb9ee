package stream

import (
	"bytes"
	"net/http"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/httpbody"
)

// passedEvents follows an event stream that passes through, to know when a heartbeat can be sent between its events.
type passedEvents struct {
	tail     [3]byte // the last bytes
	begun    bool    // a byte has passed
	led      bool    // we have sent a heartbeat before the first byte
	comments bool    // only comments have passed since the last event
}

// TakesComments reports whether comments can be added to an event stream with these headers. They cannot if its bytes are encoded, or
// if it has a Content-Length.
func TakesComments(header http.Header) bool {
	return !httpbody.IsEncoded(header) && header.Get("Content-Length") == ""
}

// PassEvents adds heartbeats to an event stream that passes through.
func (s *Stream) PassEvents() {
	s.passed = &passedEvents{tail: [3]byte{'\n', '\n', '\n'}}
	s.startHeartbeat()
}

// PassLate makes a stream that opened early pass on an event stream from now on.
func (s *Stream) PassLate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw = true
	s.passed = &passedEvents{tail: [3]byte{'\n', '\n', '\n'}, led: true}
}

// take follows the bytes that pass, and returns them. It removes a byte order mark that is not at the beginning of the response.
func (e *passedEvents) take(p []byte) []byte {
	if !e.begun && e.led {
		p = bytes.TrimPrefix(p, []byte("\uFEFF"))
	}
	e.begun = e.begun || len(p) > 0
	e.comments = endsWithComments(p, e.between(), e.tail[2] == '\n')
	if n := len(p); n >= len(e.tail) {
		copy(e.tail[:], p[n-len(e.tail):])
	} else {
		copy(e.tail[:], e.tail[n:])
		copy(e.tail[len(e.tail)-n:], p)
	}
	return p
}

// between reports whether the last event has ended (WHATWG HTML §9.2.5). After a CR, that is not known, because an LF may follow.
func (e *passedEvents) between() bool {
	switch string(e.tail[:]) {
	case "\n\r\n", "\r\r\n":
		return true
	}
	return e.comments || bytes.HasSuffix(e.tail[:], []byte("\n\n"))
}

// endsWithComments reports whether the bytes so far end with whole lines that belong to no event: comments and retry fields, which
// many servers send without a blank line. between and lineEnded say whether the bytes before p ended between events, or with a
// line end.
func endsWithComments(p []byte, between, lineEnded bool) bool {
	for len(p) > 0 {
		if p[len(p)-1] != '\n' {
			return false
		}
		start := bytes.LastIndexByte(p[:len(p)-1], '\n') + 1
		line := bytes.TrimSuffix(p[start:len(p)-1], []byte("\r"))
		switch {
		case len(line) == 0:
			return start > 0 || lineEnded
		case line[0] != ':' && !bytes.HasPrefix(line, []byte("retry:")) || bytes.IndexByte(line, '\r') >= 0:
			return false
		}
		p = p[:start]
	}
	return between
}
