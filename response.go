package sse

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go/http3"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/httpbody"
	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// setStreamHeaders makes a response's headers those of an event stream. What described the upstream's bytes goes:
// it does not hold for ours. They are set, not added, as the next handler may have put its own beside them.
func setStreamHeaders(header http.Header) {
	for _, name := range []string{
		"Content-Length", "Content-Encoding", "Content-Range", "Etag", "Last-Modified", "Accept-Ranges",
		"Content-Md5", "Digest", "Content-Digest", "Repr-Digest", "Unencoded-Digest",
		"Trailer",
	} {
		header.Del(name)
	}
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", cacheControl(header.Values("Cache-Control")))
	header.Set("X-Accel-Buffering", "no") // nginx, and who has learnt it from there
	header.Set("Incremental", "?1")       // RFC 10036: intermediaries must not buffer
	addVary(header)
}

// cacheControl is no-cache, and what the response forbids besides.
func cacheControl(values []string) string {
	directives := "no-cache"
	for _, name := range []string{"no-store", "private", "no-transform"} {
		if httpguts.HeaderValuesContainsToken(values, name) {
			directives += ", " + name
		}
	}
	return directives
}

// addVary says that the response depends on the Accept header, beside what it depends on already.
func addVary(header http.Header) {
	for _, line := range header["Vary"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name == "*" || strings.EqualFold(name, "Accept") {
				return
			}
		}
	}
	header.Set("Vary", strings.Join(append(slices.Clone(header["Vary"]), "Accept"), ", "))
}

// responseWriter stands between the next handler and the client. It decides, when the next handler sends its
// headers, what the response becomes: a stream of events, or what it is.
//
// It overrides all that caddyhttp.ResponseWriterWrapper promotes (ReadFrom above all, which would pass by Write),
// but keeps its Unwrap for upgrades.
type responseWriter struct {
	*caddyhttp.ResponseWriterWrapper
	direct *direct
	quiet  *atomic.Bool // this response ends without the next handler's complaint

	mayBePart  bool   // the request is for a part of the response
	refusePart func() // ends one that is

	adoptTimeouts func() // the next handler's are those of the response
	leave         func() // it is not counted as a stream

	mu      sync.Mutex // held while the next handler writes
	mode    responseMode
	tunnel  bool // the next handler is about to answer CONNECT with a tunnel
	body    *httpbody.Body
	refusal error       // instead of the response
	unseen  http.Header // what the next handler sets once ours are out
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
	header := w.ResponseWriter.Header()
	if header["Upgrade"] != nil {
		w.tunnel = true
	}
	return header
}

// Unwrap is for upgrades, and for what a http.ResponseController can do besides.
func (w *responseWriter) Unwrap() http.ResponseWriter {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mode == isAbandoned {
		return nil
	}
	return w.ResponseWriter
}

// abandon cuts the next handler off from a stream that has ended. One that is on its way to its own response, or
// has sent it, keeps it.
func (w *responseWriter) abandon() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mode == isUndecided || w.mode == isPassed {
		return false
	}
	w.mode, w.unseen = isAbandoned, make(http.Header)
	return true
}

// isLeftBehind is whether the next handler may still run.
func (w *responseWriter) isLeftBehind() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mode == isAbandoned
}

func (w *responseWriter) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(status)
}

func (w *responseWriter) writeHeader(status int) {
	switch {
	case w.mode == isPassed || w.mode == isEvents:
		w.ResponseWriter.WriteHeader(status) // net/http says what is wrong with that
	case w.mode != isUndecided:
	case 100 <= status && status < 200 && status != http.StatusSwitchingProtocols:
		w.ResponseWriter.WriteHeader(status) // the final status is yet to come
	default:
		w.decide(status)
	}
}

func (w *responseWriter) decide(status int) {
	s, header := w.direct.stream, w.ResponseWriter.Header()
	h := s.handler
	switch {
	case s.ended():
		w.mode, w.refusal, w.unseen = isGone, errStreamEnded, make(http.Header)
		w.quiet.Store(true)
		return
	case w.mayBePart && h.isPartOfRecords(status, header, namesEventStream(s.request)):
		w.mode, w.refusal, w.unseen = isGone, errPartOfRecords, make(http.Header)
		w.quiet.Store(true)
		w.refusePart()
		return
	case s.request.Method == http.MethodConnect && w.tunnel:
		w.mode = isPassed
	case h.converts(status, header, namesEventStream(s.request)):
		w.mode = isConverted
		w.quiet.Store(true)
		s.handler.meters.Connects.Inc()
		body, err := httpbody.Open(w.direct, header)
		if err != nil {
			w.mode, w.refusal = isGone, err
			s.cancel()
		}
		w.body, w.unseen = body, make(http.Header)
		return
	case status == http.StatusOK && isEventStream(header) && s.request.Method != http.MethodHead:
		w.mode = isEvents
		w.quiet.Store(true)
		s.handler.meters.Connects.Inc()
		w.logUnchanged(status)
		s.passThrough(status)
		s.passEvents(header)
		return
	default:
		w.mode = isPassed
	}
	w.logUnchanged(status)
	openStreams.remove(s) // not a stream: a stop lets it come to its own end
	w.leave()
	s.releaseDeadline()
	w.adoptTimeouts()
	w.ResponseWriter.WriteHeader(status)
}

func (w *responseWriter) logUnchanged(status int) {
	s, header := w.direct.stream, w.ResponseWriter.Header()
	why := s.handler.whyUnchanged(status, header, namesEventStream(s.request))
	s.handler.logUnchanged(s.request, why, zap.Int("status", status), zap.String("content_type", httpbody.ContentType(header)))
}

func (w *responseWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mode == isUndecided {
		w.writeHeader(http.StatusOK)
	}
	switch w.mode {
	case isEvents:
		return written(len(p), w.direct.stream.forward(p))
	case isConverted:
		if w.direct.stream.request.Method == http.MethodHead {
			return len(p), nil
		}
		_, err := w.body.Write(p)
		if err != nil && !errors.Is(err, errStreamEnded) {
			w.direct.fail(err)
		}
		return written(len(p), err)
	case isGone, isAbandoned:
		return written(len(p), errStreamEnded)
	default:
		return w.ResponseWriter.Write(p)
	}
}

// written is what Write returns after it has taken n bytes.
func written(n int, err error) (int, error) {
	if err != nil {
		return 0, errNobodyWantsMore
	}
	return n, nil
}

// errNobodyWantsMore ends a next handler whose response has ended, whatever has ended it: that is ours to say.
// reverse_proxy takes it for the error of an HTTP/3 client that has left, the one it does not warn of.
var errNobodyWantsMore = fmt.Errorf("%w: %w", errStreamEnded, &http3.Error{Remote: true, ErrorCode: http3.ErrCodeRequestCanceled})

func (w *responseWriter) ReadFrom(r io.Reader) (int64, error) {
	w.mu.Lock()
	if w.mode == isUndecided {
		w.writeHeader(http.StatusOK)
	}
	passed := w.mode == isPassed
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
		_ = w.direct.stream.flushForwarded() // as in Write
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
	if w.mode != isUndecided && w.mode != isPassed {
		return nil, nil, fmt.Errorf("the response is an event stream: %w", http.ErrNotSupported)
	}
	w.mode = isPassed
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// finish ends the response after the next handler has ended with err, and returns the handler's error.
func (w *responseWriter) finish(err error) error {
	if w.body != nil {
		if closeErr := w.body.Close(err == nil); err == nil {
			err = closeErr
		}
	}
	s := w.direct.stream
	if err != nil && w.mode == isUndecided && s.request.Context().Err() != nil {
		s.end(endClientGone) // in the middle of its request's body, say, which reverse_proxy takes for a 502
	}
	switch {
	case w.mode == isPassed, w.mode == isUndecided && !s.ended():
		s.finish(nil, 0)
		var handlerError caddyhttp.HandlerError
		if w.mode == isUndecided && errors.As(err, &handlerError) && handlerError.StatusCode >= http.StatusBadGateway {
			s.handler.meters.Connects.Inc() // an attempt, as those of backends that fail are
			s.warnUpstream(err)
		}
		return err
	default:
		return w.direct.finish(err)
	}
}

var (
	_ http.ResponseWriter             = (*responseWriter)(nil)
	_ io.ReaderFrom                   = (*responseWriter)(nil)
	_ http.Hijacker                   = (*responseWriter)(nil)
	_ nextWriter                      = (*responseWriter)(nil)
	_ interface{ FlushError() error } = (*responseWriter)(nil)
)
