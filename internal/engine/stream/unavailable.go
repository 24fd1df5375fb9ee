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
		case nil, http.ErrAbortHandler: // the client has its answer, and the rest of the other is of no interest
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

// unavailableWriter is a response that is replaced if it says that the stream is unavailable.
type unavailableWriter struct {
	*caddyhttp.ResponseWriterWrapper
	group   *Group
	request *http.Request
	before  http.Header // the response's headers at first

	begun     bool // the client has the headers, or something else has
	status    int  // of the response that is replaced; 0: it is not
	discarded int  // bytes of its body
	cut       *time.Timer
}

// retriesUnavailable is the key of a request whose response is replaced if it says that the stream is unavailable.
type retriesUnavailable struct{}

// IsReplaced reports whether the client does not get a response of that status.
func (s *Stream) IsReplaced(status int) bool {
	return isUnavailable(status) && s.Request.Context().Value(retriesUnavailable{}) != nil
}

// answer sends the stream that says that there is none.
func (w *unavailableWriter) answer(status int) {
	w.status = status
	header := w.Header()
	base := max(w.group.retryOr(3*time.Second), retryAfter(header.Get("Retry-After")))
	clear(header)
	maps.Copy(header, w.before)
	coding := w.group.SetHeaders(header, w.request)
	w.ResponseWriter.WriteHeader(http.StatusOK)
	if w.request.Method != http.MethodHead {
		body := append([]byte(eventstream.Comment), eventstream.AppendRetry(nil, base+Jitter(base))...)
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

// maxDiscarded is how much is read of a body that is replaced, so that the upstream's connection can be used again.
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
