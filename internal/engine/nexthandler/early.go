package nexthandler

import (
	"net/http"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

// opensEarly reports whether the client's stream opens after a time even if the next handler has not answered such a
// request. It does not if the answer may be another one than a stream: a tunnel, say, or a part of a document.
func (c *Server) opensEarly(r *http.Request) bool {
	if c.Streams.OpenAfter <= 0 || r.Header["Upgrade"] != nil || hasAny(r.Header, partialFields) {
		return false
	}
	switch r.Method {
	case http.MethodHead, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return false
	case http.MethodGet:
		return !hasAny(r.Header, conditionalFields) // the client has a document, which need not have changed
	}
	return true
}

// openAfter opens the client's stream after that time, unless the next handler has answered by then. Until it answers, it
// has headers of its own, since those of the response may be on their way. The caller calls stop once it has ended.
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

// writeInterim sends a response that comes before the final one, such as 103, with the next handler's headers. Those of
// the final response stay as they were.
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

// adoptHeader makes the headers of the next handler those of the response.
func (w *responseWriter) adoptHeader() {
	if w.own != nil {
		restoreHeader(w.ResponseWriter.Header(), w.own)
	}
}

// openEarly opens the client's stream although the next handler has not answered.
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

// decideLate is decide for a stream that is open already.
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
		w.reject(errNoRecords(status, header))
	}
}

// forwarder passes an event stream on to a client whose own is open already. It is the upstream's Sink and Input.
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
