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

// responseWriter stands between the next handler and the client, or the source that asks on its own. It decides, when the
// next handler sends its headers, whether the response becomes a stream of events.
//
// It overrides all that caddyhttp.ResponseWriterWrapper promotes (ReadFrom above all, which would pass by Write),
// but keeps its Unwrap for upgrades.
type responseWriter struct {
	*caddyhttp.ResponseWriterWrapper
	upstream *upstream.Config
	sink     backend.Sink
	client   *client // nil: a source asks, which takes nothing but records
	refuse   func()  // ends the next handler's request
	silence  *upstream.Silence

	mu     sync.Mutex // held while the next handler writes
	mode   responseMode
	tunnel bool // the next handler is about to answer CONNECT with a tunnel
	body   *httpbody.Body
	err    error       // why the next handler was refused or cut off, if it was us
	unseen http.Header // what the next handler sets once ours are out
	own    http.Header // what the next handler sets before, if ours may go out early; else nil
	early  bool        // they have
	late   bool        // it is too late for that
}

// client is the client of a next handler, and how its response is to go.
type client struct {
	*direct.Sink
	quiet         *atomic.Bool // this response ends without the next handler's complaint
	mayBePart     bool         // the request is for a part of the response
	adoptTimeouts func()       // the next handler's are those of the response
	leave         func()       // it is not counted as a stream
}

type responseMode uint8

const (
	isUndecided responseMode = iota
	isPassed                 // untouched
	isEvents                 // an event stream already: untouched, but for the deadlines
	isConverted
	isGone      // refused
	isAbandoned // there is no response any more
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

// header returns what the next handler has set so far.
func (w *responseWriter) header() http.Header {
	if w.own != nil {
		return w.own
	}
	return w.ResponseWriter.Header()
}

// Unwrap is for upgrades, and for the other methods of http.ResponseController.
func (w *responseWriter) Unwrap() http.ResponseWriter {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mode == isAbandoned || w.early {
		return nil
	}
	return w.ResponseWriter
}

// abandon cuts the next handler off from a stream or source that has ended. One that is on its way to its own response
// to a client, or has sent it, keeps it.
func (w *responseWriter) abandon() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.client != nil && (w.mode == isUndecided && !w.early || w.mode == isPassed) {
		return false
	}
	w.mode, w.unseen = isAbandoned, make(http.Header)
	return true
}

// isRejected reports whether nothing of the response is taken, so that err is the response.
func (w *responseWriter) isRejected() bool { return w.err != nil && w.body == nil }

// isLeftBehind reports whether the next handler may still run.
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
		w.ResponseWriter.WriteHeader(status) // net/http says what is wrong with that
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
	s.Release() // a stop lets it come to its own end
	s.KeepRights()
	w.client.quiet.Store(s.IsReplaced(status))
	w.client.leave()
	w.client.adoptTimeouts()
	w.ResponseWriter.WriteHeader(status)
}

// convert makes records of the response.
func (w *responseWriter) convert(header http.Header) {
	body, err := httpbody.Open(w.sink, header)
	if err != nil {
		w.reject(err)
		return
	}
	w.mode, w.body, w.unseen = isConverted, body, make(http.Header)
}

// reject takes nothing of the response.
func (w *responseWriter) reject(why error) {
	w.mode, w.err, w.unseen = isGone, why, make(http.Header)
	w.refuse()
}

// endSilent ends a response whose upstream has sent nothing for too long.
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

// logUnchanged says at debug that a response passes as it is.
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
	case isGone, isAbandoned:
		return written(len(p), stream.ErrEnded)
	default:
		if w.client.Stream.LostRights() {
			return written(len(p), stream.ErrEnded)
		}
		return w.ResponseWriter.Write(p)
	}
}

// errPartOfRecords says that the whole response has to be asked for: a part cannot be converted, and a server may ignore
// that a client wants no more (RFC 9110 §14.2).
var errPartOfRecords = errors.New("next handler answered with a part of the records")

// written is what Write returns after it has taken n bytes.
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
	case isConverted, isGone, isAbandoned:
		return nil // each write has been flushed
	default:
		return http.NewResponseController(w.ResponseWriter).Flush()
	}
}

// Hijack hands over the connection; from then on the response is not ours.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.client == nil || w.early || w.mode != isUndecided && w.mode != isPassed {
		return nil, nil, fmt.Errorf("the response is an event stream: %w", http.ErrNotSupported)
	}
	w.mode = isPassed
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// ended closes the body after the next handler has ended with err. It returns why there is no more.
func (w *responseWriter) ended(err error) error {
	if w.early && w.mode == isUndecided {
		if err != nil {
			w.upstream.Report.Connecting() // an attempt, as those of backends that fail are
		} else {
			w.WriteHeader(http.StatusOK) // as net/http does for a handler that says nothing
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

// finish ends the client's response after the next handler has ended with err, and returns the handler's error.
func (w *responseWriter) finish(err error) error {
	err = w.ended(err)
	s := w.client.Stream
	if err != nil && w.mode == isUndecided && s.Request.Context().Err() != nil {
		s.End(stream.EndClientGone) // in the middle of its request's body, say, which reverse_proxy takes for a 502
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
		w.upstream.Report.Connecting() // an attempt, as those of backends that fail are
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
