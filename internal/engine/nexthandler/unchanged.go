package nexthandler

import (
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

// ServeUnchanged answers a client that prefers the next handler's own format. A response with records lasts as long as a stream, and
// counts as one for max_streams. For any other response, it calls leave.
func (c *Server) ServeUnchanged(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, leave func()) error {
	return next.ServeHTTP(&unchangedWriter{&caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, c, leave, false}, r)
}

// unchangedWriter calls leave if the response has no records.
type unchangedWriter struct {
	*caddyhttp.ResponseWriterWrapper
	server  *Server
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
		return // it is an interim status
	}
	w.decided = true
	header := w.Header()
	if asksForStream := true; !upstream.IsEventStream(header) && !w.server.Config.Converts(status, header, asksForStream) {
		w.leave()
	}
}
