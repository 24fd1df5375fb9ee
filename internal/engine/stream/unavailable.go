package stream

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
)

// isUnavailable reports whether a status says that the same request may succeed later.
func isUnavailable(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// RetryUnavailable serves a request whose client gives up for good at any status but 200, as EventSource does. Where serve
// answers that the stream is unavailable, the client gets a stream that tells it so, and when to come back.
func (g *Group) RetryUnavailable(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter) error) error {
	before := maps.Clone(w.Header())
	u := &unavailableWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	err := serve(u)
	var failed caddyhttp.HandlerError
	if !u.begun && errors.As(err, &failed) && isUnavailable(failed.StatusCode) {
		u.status = failed.StatusCode
	}
	if u.status == 0 {
		return err
	}
	header := w.Header()
	base := max(g.retryOr(3*time.Second), retryAfter(header.Get("Retry-After")))
	clear(header)
	maps.Copy(header, before)
	SetHeaders(header)
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		body := append([]byte(eventstream.Comment), eventstream.AppendRetry(nil, base+Jitter(base))...)
		_, _ = w.Write(g.Error.AppendTo(body, frame.Failure{Reason: "unavailable", Status: u.status, TellStatus: true}))
	}
	return nil
}

// retryAfter returns the time that a Retry-After header asks for (RFC 9110 §10.2.3), and 0 if there is none.
func retryAfter(value string) time.Duration {
	const longest = time.Hour
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, longest)
	}
	if date, err := http.ParseTime(value); err == nil {
		return min(max(time.Until(date), 0), longest)
	}
	return 0
}

// unavailableWriter is a response that is discarded if it says that the stream is unavailable.
type unavailableWriter struct {
	*caddyhttp.ResponseWriterWrapper
	begun  bool // the client has the headers, or something else has
	status int  // of the response that is discarded; 0: it is not
}

func (w *unavailableWriter) WriteHeader(status int) {
	switch {
	case w.status != 0:
	case !w.begun && isUnavailable(status):
		w.status = status
	default:
		w.begun = w.begun || status >= 200 || status == http.StatusSwitchingProtocols
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w *unavailableWriter) Write(p []byte) (int, error) {
	if w.status != 0 {
		return len(p), nil
	}
	w.begun = true
	return w.ResponseWriter.Write(p)
}

func (w *unavailableWriter) ReadFrom(r io.Reader) (int64, error) {
	if w.status != 0 {
		return io.Copy(io.Discard, r)
	}
	w.begun = true
	return w.ResponseWriterWrapper.ReadFrom(r)
}

func (w *unavailableWriter) FlushError() error {
	if w.status != 0 {
		return nil
	}
	w.begun = true
	return http.NewResponseController(w.ResponseWriter).Flush()
}

var (
	_ io.ReaderFrom                   = (*unavailableWriter)(nil)
	_ interface{ FlushError() error } = (*unavailableWriter)(nil)
)
