package nexthandler

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/httpbody"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/direct"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// responseWriter is the response writer of the next handler. When the handler sends its headers, it decides whether the response
// becomes an event stream. The response is for a client, or for a source that makes a request of its own.
//
// It overrides all methods that caddyhttp.ResponseWriterWrapper promotes, above all ReadFrom, which would bypass Write.
type responseWriter struct {
	*caddyhttp.ResponseWriterWrapper
	upstream *upstream.Config
	sink     backend.Sink
	client   *client // nil: the request is a source's, which takes only records
	refuse   func()  // cancels the next handler's request
	silence  *upstream.Silence

	mu     sync.Mutex // held while the next handler writes
	mode   responseMode
	tunnel bool // the next handler may be about to answer CONNECT with a tunnel
	body   *httpbody.Body
	err    error // why we have rejected or cut off the response
	opening
}

// opening is the state of a response that may open before the next handler has answered.
type opening struct {
	unseen http.Header // the next handler's headers after ours were sent, such as trailers
	own    http.Header // the next handler's headers before that, if ours may be sent early; otherwise nil
	early  bool        // the client's stream has opened early
	late   bool        // it must not open early any more
}

// client is the client that gets the response.
type client struct {
	*direct.Sink
	quiet         *atomic.Bool // the next handler must not log the end of the request
	mayBePart     bool         // the request asks for a part of the response
	adoptTimeouts func()       // applies the next handler's timeouts to the response
	leave         func()       // the response does not count as a stream
}

type responseMode uint8

const (
	isUndecided responseMode = iota
	isPassed                 // it passes unchanged
	isEvents                 // it is an event stream already, and passes, with our deadlines and heartbeats
	isConverted
	isRejected
	isAbandoned // the next handler was left behind
)

func (w *responseWriter) Header() http.Header {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unseen != nil {
		return w.unseen
	}
	header := w.header()
	if header["Upgrade"] != nil {
		w.tunnel = true
	}
	return header
}

// header returns the headers that the next handler has set so far.
func (w *responseWriter) header() http.Header {
	if w.own != nil {
		return w.own
	}
	return w.ResponseWriter.Header()
}

// Unwrap makes upgrades and http.ResponseController work.
func (w *responseWriter) Unwrap() http.ResponseWriter {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mode == isAbandoned || w.early {
		return nil
	}
	return w.ResponseWriter
}

// abandon cuts the next handler off from the stream or source, which has ended. It returns false if the handler may still send the
// client a response of its own, or has done so.
func (w *responseWriter) abandon() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.client != nil && (w.mode == isUndecided && !w.early || w.mode == isPassed) {
		return false
	}
	w.mode, w.unseen = isAbandoned, make(http.Header)
	return true
}

// wasRejected reports whether nothing was taken from the response, so that err makes the response.
func (w *responseWriter) wasRejected() bool { return w.err != nil && w.body == nil }

// isLeftBehind reports whether the next handler may still be running.
func (w *responseWriter) isLeftBehind() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mode == isAbandoned
}

func (w *responseWriter) WriteHeader(status int) {
	if w.silence != nil {
		w.silence.Takes()
		defer w.silence.Taken()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(status)
}

func (w *responseWriter) writeHeader(status int) {
	switch {
	case w.mode == isPassed || w.mode == isEvents:
		w.ResponseWriter.WriteHeader(status) // a second call, which net/http logs
	case w.mode != isUndecided:
	case w.client == nil && status < 200:
	case 100 <= status && status < 200 && status != http.StatusSwitchingProtocols:
		w.writeInterim(status)
	case w.client == nil:
		w.decideForSource(status)
	case w.early:
		w.decideLate(status)
	default:
		w.adoptHeader()
		w.own = nil
		w.decide(status)
	}
}

func (w *responseWriter) decideForSource(status int) {
	header := w.ResponseWriter.Header()
	eventStream := status == http.StatusOK && upstream.IsEventStream(header)
	if asksForStream := true; eventStream || w.upstream.Converts(status, header, asksForStream) {
		w.convert(header)
		return
	}
	w.reject(errNoRecords(status, header))
}

func errNoRecords(status int, header http.Header) error {
	return fmt.Errorf("next handler answered with %w and content type %q, which is not a response of records", failure.BadStatus(status), httpbody.ContentType(header))
}

func (w *responseWriter) decide(status int) {
	s, header := w.client.Stream, w.ResponseWriter.Header()
	asksForStream := upstream.NamesEventStream(s.Request)
	switch {
	case s.Ended():
		w.client.quiet.Store(true)
		w.reject(stream.ErrEnded)
		return
	case w.client.mayBePart && w.upstream.IsPartOfRecords(status, header, asksForStream):
		w.client.quiet.Store(true)
		w.reject(errPartOfRecords)
		return
	case s.Request.Method == http.MethodConnect && w.tunnel:
		w.mode = isPassed
	case w.upstream.Converts(status, header, asksForStream):
		w.client.quiet.Store(true)
		w.upstream.Report.Connecting()
		w.convert(header)
		return
	case status == http.StatusOK && upstream.IsEventStream(header) && s.Request.Method != http.MethodHead:
		w.mode = isEvents
		w.client.quiet.Store(true)
		w.upstream.Report.Connecting()
		w.logUnchanged(status)
		commented := stream.TakesComments(header) // encode writes its Content-Encoding to the same header
		s.PassThrough(status)
		if commented {
			s.PassEvents()
		}
		return
	default:
		w.mode = isPassed
	}
	w.logUnchanged(status)
	s.Release() // a shutdown lets the response end by itself
	s.KeepRights()
	w.client.quiet.Store(s.IsReplaced(status))
	w.client.leave()
	w.client.adoptTimeouts()
	w.ResponseWriter.WriteHeader(status)
}

// convert starts to turn the response into records.
func (w *responseWriter) convert(header http.Header) {
	body, err := httpbody.Open(w.sink, header)
	if err != nil {
		w.reject(err)
		return
	}
	w.mode, w.body, w.unseen = isConverted, body, make(http.Header)
}

// reject rejects the whole response.
func (w *responseWriter) reject(why error) {
	w.mode, w.err, w.unseen = isRejected, why, make(http.Header)
	w.refuse()
}

// endSilent ends the response after upstream_timeout.
func (w *responseWriter) endSilent() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch w.mode {
	case isUndecided:
		w.upstream.Report.Connecting()
		w.reject(upstream.ErrSilent)
	case isConverted, isEvents:
		if w.err == nil {
			w.err = upstream.ErrSilent
			w.refuse()
		}
	}
}

// logUnchanged logs at debug that the response passes unchanged, and why.
func (w *responseWriter) logUnchanged(status int) {
	if log := w.upstream.Report.Logger.Check(zapcore.DebugLevel, "response passes unchanged"); log != nil {
		s, header := w.client.Stream, w.ResponseWriter.Header()
		log.Write(zap.Int("status", status), zap.String("content_type", httpbody.ContentType(header)),
			zap.String("reason", w.upstream.WhyUnchanged(status, header, upstream.NamesEventStream(s.Request))), zap.String("uri", s.URI()))
	}
}

func (w *responseWriter) Write(p []byte) (int, error) {
	if w.silence != nil {
		w.silence.Takes()
		defer w.silence.Taken()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mode == isUndecided {
		w.writeHeader(http.StatusOK)
	}
	switch w.mode {
	case isEvents:
		return written(len(p), w.client.Stream.Forward(p))
	case isConverted:
		if w.client != nil && w.client.Stream.Request.Method == http.MethodHead {
			return len(p), nil
		}
		_, err := w.body.Write(p)
		if err != nil && w.err == nil && !errors.Is(err, stream.ErrEnded) {
			w.err = err
			w.refuse()
		}
		return written(len(p), err)
	case isRejected, isAbandoned:
		return written(len(p), stream.ErrEnded)
	default:
		if w.client.Stream.LostRights() {
			return written(len(p), stream.ErrEnded)
		}
		return w.ResponseWriter.Write(p)
	}
}

// errPartOfRecords means that the request must be repeated for the whole response. A part cannot be converted, and a server may always
// answer with the whole (RFC 9110 §14.2).
var errPartOfRecords = errors.New("next handler answered with a part of the records")

// written returns the results of a Write of n bytes.
func written(n int, err error) (int, error) {
	if err != nil {
		return 0, stream.ErrNobodyWantsMore
	}
	return n, nil
}

func (w *responseWriter) ReadFrom(r io.Reader) (int64, error) {
	w.mu.Lock()
	if w.mode == isUndecided {
		w.writeHeader(http.StatusOK)
	}
	passed := w.mode == isPassed && !w.client.Stream.EndsWithRights()
	w.mu.Unlock()
	if passed {
		return w.ResponseWriterWrapper.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{w}, r)
}

func (w *responseWriter) FlushError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mode == isUndecided {
		w.writeHeader(http.StatusOK)
	}
	switch w.mode {
	case isEvents:
		_ = w.client.Stream.FlushForwarded() // as in Write
		return nil
	case isConverted, isRejected, isAbandoned:
		return nil // each write was flushed
	default:
		return http.NewResponseController(w.ResponseWriter).Flush()
	}
}

// Hijack hands the connection over to the next handler.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.client == nil || w.early || w.mode != isUndecided && w.mode != isPassed {
		return nil, nil, fmt.Errorf("the response is an event stream: %w", http.ErrNotSupported)
	}
	w.mode = isPassed
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// ended closes the body after the next handler has returned err. It returns the error of the upstream.
func (w *responseWriter) ended(err error) error {
	if w.early && w.mode == isUndecided {
		if err != nil {
			w.upstream.Report.Connecting() // a failed attempt counts, as for backends
		} else {
			w.WriteHeader(http.StatusOK) // as net/http does for a handler that writes nothing
		}
	}
	if w.body != nil {
		if closeErr := w.body.Close(err == nil); err == nil {
			err = closeErr
		}
	}
	if w.err != nil {
		return w.err
	}
	return err
}

// finish ends the client's response after the next handler has returned err. It returns the error of the sse handler.
func (w *responseWriter) finish(err error) error {
	err = w.ended(err)
	s := w.client.Stream
	if err != nil && w.mode == isUndecided && s.Request.Context().Err() != nil {
		s.End(stream.EndClientGone) // perhaps in the middle of its request's body, which reverse_proxy makes a 502
	}
	if w.mode != isPassed && (w.mode != isUndecided || s.Ended() || w.early) {
		return w.client.Finish(err)
	}
	s.Close()
	if w.mode == isPassed && s.LostRights() {
		w.upstream.Report.Logger.Debug("response that passes unchanged is broken off", zap.String("end_reason", s.EndReason()), zap.String("uri", s.URI()))
		panic(http.ErrAbortHandler)
	}
	var handlerError caddyhttp.HandlerError
	if w.mode == isUndecided && errors.As(err, &handlerError) && handlerError.StatusCode >= http.StatusBadGateway {
		w.upstream.Report.Connecting() // a failed attempt counts, as for backends
		s.WarnUpstream(err)
	}
	return err
}

var (
	_ http.ResponseWriter             = (*responseWriter)(nil)
	_ io.ReaderFrom                   = (*responseWriter)(nil)
	_ http.Hijacker                   = (*responseWriter)(nil)
	_ interface{ FlushError() error } = (*responseWriter)(nil)
)
