package nexthandler

import (
	"net/http"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

// opensEarly reports whether open_after applies to the request: the client's stream then opens even if the next handler has not
// answered. It does not apply if the response may be something other than a stream, such as a tunnel or a part of a document.
func (c *Server) opensEarly(r *http.Request) bool {
	if c.Streams.OpenAfter <= 0 || r.Header["Upgrade"] != nil || hasAny(r.Header, partialFields) {
		return false
	}
	switch r.Method {
	case http.MethodHead, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return false
	case http.MethodGet:
		return !hasAny(r.Header, conditionalFields) // the client has a document that may be unchanged
	}
	return true
}

// openAfter opens the client's stream after this time if the next handler has not answered by then. Until the handler answers, it
// sets headers in a map of its own, because those of the response may be sent at any time. The caller calls stop after the
// handler has ended.
func (w *responseWriter) openAfter(wait time.Duration) (stop func()) {
	w.own = w.ResponseWriter.Header().Clone()
	timer := time.AfterFunc(wait, w.openEarly)
	return func() {
		timer.Stop()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.late = true
	}
}

// writeInterim sends an interim response, such as 103, with the next handler's headers. The headers of the final response do not
// change.
func (w *responseWriter) writeInterim(status int) {
	if w.early {
		return
	}
	if w.own != nil {
		header := w.ResponseWriter.Header()
		defer restoreHeader(header, header.Clone())
		w.adoptHeader()
	}
	w.ResponseWriter.WriteHeader(status)
}

// adoptHeader copies the next handler's headers to the response.
func (w *responseWriter) adoptHeader() {
	if w.own != nil {
		restoreHeader(w.ResponseWriter.Header(), w.own)
	}
}

// openEarly opens the client's stream before the next handler has answered.
func (w *responseWriter) openEarly() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mode != isUndecided || w.late {
		return
	}
	w.client.quiet.Store(true)
	w.client.Stream.LeaveBody()
	w.client.StartEarly()
	w.early = w.client.Stream.IsOpen()
}

// decideLate is decide for a stream that has opened early.
func (w *responseWriter) decideLate(status int) {
	s, header := w.client.Stream, w.own
	w.upstream.Report.Connecting()
	switch {
	case s.Ended():
		w.reject(stream.ErrEnded)
	case w.upstream.Converts(status, header, true):
		w.convert(header)
	case status == http.StatusOK && upstream.IsEventStream(header):
		w.sink = forwarder{s}
		w.convert(header)
	default:
		s.AnsweredUnavailable(header.Get("Retry-After"))
		w.reject(errNoRecords(status, header))
	}
}

// forwarder passes an event stream on to a client whose stream has opened early. It implements backend.Sink and backend.Input.
type forwarder struct{ stream *stream.Stream }

func (f forwarder) Open(string) (backend.Input, error) {
	f.stream.Answered()
	f.stream.PassLate()
	return f, nil
}

func (f forwarder) Write(p []byte) (int, error) {
	if err := f.stream.Forward(p); err != nil {
		return 0, err
	}
	return len(p), f.stream.FlushForwarded()
}

func (forwarder) End(bool) error                              { return nil }
func (forwarder) Gap() error                                  { return nil }
func (forwarder) SetOffset(int64, func([]byte, int64) []byte) {}

var (
	_ backend.Sink  = forwarder{}
	_ backend.Input = forwarder{}
)
