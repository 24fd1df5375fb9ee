package stream

import (
	"context"
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

// isUnavailable reports whether the same request may succeed later.
func isUnavailable(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// RetryUnavailable serves a request from a client that gives up for good at any status other than 200, as EventSource does. If serve
// answers that the stream is unavailable, the client gets a short stream instead, with an error event and a reconnection time.
func (g *Group) RetryUnavailable(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter, *http.Request) error) (err error) {
	ctx, cut := context.WithCancelCause(r.Context())
	defer cut(nil)
	r = r.WithContext(context.WithValue(ctx, retriesUnavailable{}, true))
	u := &unavailableWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, group: g, request: r, before: w.Header().Clone()}
	u.cut = time.AfterFunc(noLimit, func() { cut(io.EOF) })
	defer u.cut.Stop()
	defer func() {
		if u.status == 0 {
			return
		}
		switch e := recover(); e {
		case nil, http.ErrAbortHandler: // the client has its answer; the replaced response does not matter
			err = nil
		default:
			panic(e)
		}
	}()
	err = serve(u, r)
	var failed caddyhttp.HandlerError
	if !u.begun && u.status == 0 && errors.As(err, &failed) && isUnavailable(failed.StatusCode) {
		u.answer(failed.StatusCode)
	}
	return err
}

// appendComeBack adds a random reconnection time to an unavailable stream: wait or the configured time at least, and twice that at most.
func (g *Group) appendComeBack(dst []byte, wait time.Duration) []byte {
	base := max(g.retryOr(3*time.Second), wait)
	return eventstream.AppendRetry(dst, base+Jitter(base))
}

// retryAfter returns the delay in a Retry-After header (RFC 9110 §10.2.3), at most an hour. It returns 0 if there is none.
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

// unavailableWriter is the response writer of RetryUnavailable. It replaces a response that says that the stream is unavailable.
type unavailableWriter struct {
	*caddyhttp.ResponseWriterWrapper
	group   *Group
	request *http.Request
	before  http.Header // the headers before serve

	begun     bool // the response has begun, and cannot be replaced any more
	status    int  // the status of the replaced response; 0: it is not replaced
	discarded int  // the number of discarded bytes of its body
	cut       *time.Timer
}

// retriesUnavailable is the context key that marks a request in RetryUnavailable.
type retriesUnavailable struct{}

// IsReplaced reports whether RetryUnavailable will replace a response with this status.
func (s *Stream) IsReplaced(status int) bool {
	return isUnavailable(status) && s.Request.Context().Value(retriesUnavailable{}) != nil
}

// answer sends the short stream that replaces a response with this status.
func (w *unavailableWriter) answer(status int) {
	w.status = status
	header := w.Header()
	wait := retryAfter(header.Get("Retry-After"))
	clear(header)
	maps.Copy(header, w.before)
	coding := w.group.SetHeaders(header, w.request)
	w.ResponseWriter.WriteHeader(http.StatusOK)
	if w.request.Method != http.MethodHead {
		body := w.group.appendComeBack([]byte(eventstream.Comment), wait)
		body = w.group.Error.AppendTo(body, frame.Failure{Reason: "unavailable", Status: status, TellStatus: true})
		_, _ = w.ResponseWriter.Write(encodeWhole(coding, body))
	}
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *unavailableWriter) WriteHeader(status int) {
	switch {
	case w.status != 0:
	case !w.begun && isUnavailable(status):
		w.answer(status)
		w.cut.Reset(LastWrite) // its body may never end
	default:
		w.begun = w.begun || status >= 200 || status == http.StatusSwitchingProtocols
		w.ResponseWriter.WriteHeader(status)
	}
}

// maxDiscarded is how much of a replaced body is read, so that the upstream's connection can be reused.
const maxDiscarded = 64 << 10

func (w *unavailableWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.begun = true
		return w.ResponseWriter.Write(p)
	}
	if w.discarded += len(p); w.discarded > maxDiscarded {
		return 0, ErrNobodyWantsMore
	}
	return len(p), nil
}

func (w *unavailableWriter) ReadFrom(r io.Reader) (int64, error) {
	if w.status == 0 {
		w.begun = true
		return w.ResponseWriterWrapper.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{w}, r)
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
