package sse

import (
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// serveNextUnchanged answers a client that has negotiated for the next handler's own format. Records are as long for it as
// for those who get events, and count as their streams do.
func (h *Handler) serveNextUnchanged(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	leave, err := h.limits.enter(h, w, r)
	if err != nil {
		return err
	}
	defer leave()
	return next.ServeHTTP(&unchangedWriter{&caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, h, leave, false}, r)
}

// unchangedWriter lets go of a stream's place if the response has no records.
type unchangedWriter struct {
	*caddyhttp.ResponseWriterWrapper
	handler *Handler
	leave   func()
	decided bool
}

func (w *unchangedWriter) WriteHeader(status int) {
	w.decide(status)
	w.ResponseWriterWrapper.WriteHeader(status)
}

func (w *unchangedWriter) Write(p []byte) (int, error) {
	w.decide(http.StatusOK)
	return w.ResponseWriterWrapper.Write(p)
}

func (w *unchangedWriter) ReadFrom(r io.Reader) (int64, error) {
	w.decide(http.StatusOK)
	return w.ResponseWriterWrapper.ReadFrom(r)
}

func (w *unchangedWriter) decide(status int) {
	if w.decided || status < 200 && status != http.StatusSwitchingProtocols {
		return // the final status is yet to come
	}
	w.decided = true
	header := w.Header()
	if asksForStream := true; !isEventStream(header) && !w.handler.converts(status, header, asksForStream) {
		w.leave()
	}
}

// unchanged takes an upstream's bytes to one client as they are. It is that upstream's Sink and Input.
type unchanged struct {
	stream *stream
}

// Open starts the client's response.
func (u *unchanged) Open(contentType string) (Input, error) {
	header := u.stream.w.Header()
	if contentType == "" {
		contentType = "text/plain; charset=utf-8"
	}
	header.Set("Content-Type", contentType)
	header.Set("Cache-Control", "no-cache")
	header.Set("X-Accel-Buffering", "no")
	header.Set("Incremental", "?1")
	u.stream.passThrough(http.StatusOK)
	return u, u.stream.flushForwarded()
}

func (u *unchanged) Write(p []byte) (int, error) {
	if err := u.stream.forward(p); err != nil {
		return 0, err
	}
	return len(p), u.stream.flushForwarded()
}

// The marks between records are in the bytes already.

func (u *unchanged) End(bool) error                       { return nil }
func (u *unchanged) At(func([]byte, int64) []byte, int64) {}
func (u *unchanged) Gap() error                           { return nil }

func (u *unchanged) finish(err error) error {
	return (&direct{stream: u.stream}).finish(err)
}

var (
	_ Sink  = (*unchanged)(nil)
	_ Input = (*unchanged)(nil)
)
