package stream

import (
	"bytes"
	"net/http"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/httpbody"
)

// passedEvents follows an event stream that passes through, to know where a heartbeat would be between its events.
type passedEvents struct {
	tail  [3]byte // what came last
	begun bool
	led   bool // a heartbeat of ours has come before its first byte
	quiet bool // nothing but comments has come since the last event
}

// TakesComments reports whether comments can be added to an event stream with these headers: its bytes are neither counted
// nor encoded.
func TakesComments(header http.Header) bool {
	return !httpbody.IsEncoded(header) && header.Get("Content-Length") == ""
}

// PassEvents adds heartbeats to a stream that passes through.
func (s *Stream) PassEvents() {
	s.passed = &passedEvents{tail: [3]byte{'\n', '\n', '\n'}}
	s.startHeartbeat()
}

// PassLate makes a stream that has opened early pass an event stream on from here.
func (s *Stream) PassLate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw = true
	s.passed = &passedEvents{tail: [3]byte{'\n', '\n', '\n'}, led: true}
}

// take notes bytes that pass, and returns them. A byte order mark is one only where a stream begins.
func (e *passedEvents) take(p []byte) []byte {
	if !e.begun && e.led {
		p = bytes.TrimPrefix(p, []byte("\uFEFF"))
	}
	e.begun = e.begun || len(p) > 0
	e.quiet = endsQuietly(p, e.between(), e.tail[2] == '\n')
	if n := len(p); n >= len(e.tail) {
		copy(e.tail[:], p[n-len(e.tail):])
	} else {
		copy(e.tail[:], e.tail[n:])
		copy(e.tail[len(e.tail)-n:], p)
	}
	return p
}

// between reports whether the last event has ended (WHATWG HTML §9.2.5). After a CR that is not known: a LF may belong
// to it.
func (e *passedEvents) between() bool {
	switch string(e.tail[:]) {
	case "\n\r\n", "\r\r\n":
		return true
	}
	return e.quiet || bytes.HasSuffix(e.tail[:], []byte("\n\n"))
}

// endsQuietly reports whether p ends with whole lines that belong to no event. Such lines are comments, and the upstream's
// retry: many servers send them without a blank line. What came before p may have ended between events, or a line at least.
func endsQuietly(p []byte, between, lineEnded bool) bool {
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
