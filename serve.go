package sse

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/ratelog"
)

// serve opens the stream of a request that is to get one. It calls leave if the response turns out to be none.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, leave func()) error {
	shares := h.Share != nil && !h.unshared && (h.backend != nil || r.Method == http.MethodGet)
	if shares {
		r = takeLastEventID(r)
	}
	if h.backend == nil {
		if shares {
			return h.serveShared(w, r, h.newNextUpstream(r, next))
		}
		return h.serveNext(w, r, next, leave)
	}
	upstream, err := h.backend.Bind(r)
	if err != nil {
		return err
	}
	defer h.drainBody(w, r)()
	if shares {
		return h.serveShared(w, r, upstream)
	}
	return h.serveBackend(w, r, upstream)
}

// refuseMethod answers the methods that open no backend: OPTIONS, which says which do, TRACE, and CONNECT. The next handler
// is not asked for a tunnel, as it may answer with the records instead.
func refuseMethod(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return caddyhttp.Error(http.StatusMethodNotAllowed, fmt.Errorf("method %s opens no stream", r.Method))
}

// serveHead answers HEAD as GET would be, but opens nothing.
func (h *Handler) serveHead(w http.ResponseWriter, r *http.Request, setHeaders func(http.Header)) error {
	if _, err := h.backend.Bind(r); err != nil {
		return err
	}
	setHeaders(w.Header())
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush() // or HTTP/3 says that the stream is empty
	return nil
}

// serveNext streams the response of the next handler, if it is one of records.
func (h *Handler) serveNext(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, leave func()) error {
	before := w.Header().Clone()
	quiet := new(atomic.Bool)
	ctx, cancel := quietContext(r.Context(), quiet.Load)
	defer cancel()
	s := newStream(h, w, r, cancel)
	s.watchClient()

	ctx, adoptTimeouts := withOwnTimeouts(ctx)
	var rw *responseWriter
	err := errUpstreamPanicked
	defer func() {
		if err == errUpstreamPanicked {
			_ = rw.finish(err)
		}
	}()
	ask := func(request *http.Request) error {
		ctx, refuse := context.WithCancelCause(request.Context())
		defer refuse(nil)
		rw = &responseWriter{
			ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, direct: &direct{stream: s}, quiet: quiet,
			mayBePart: asksForPart(request.Header), refusePart: func() { refuse(io.EOF) }, adoptTimeouts: adoptTimeouts, leave: leave,
		}
		err := askNext(next, rw, request.WithContext(ctx), quiet.Load)
		if rw.refusal != nil {
			restoreHeader(w.Header(), before)
			err = rw.refusal
		}
		return err
	}
	request := h.nextRequest(ctx, r)
	whole, url := request, *r.URL
	if asksForPart(request.Header) {
		whole = withHeader(ctx, request)
		deleteAll(whole.Header, partialFields)
		request = request.WithContext(withOwnGroups(ctx))
	}
	if err = ask(request); err == errPartOfRecords && !rw.isLeftBehind() {
		*whole.URL = url // handlers rewrite it in place, where placeholders see it
		quiet.Store(false)
		err = errUpstreamPanicked
		err = ask(whole)
	}
	return rw.finish(err)
}

// serveBackend streams a backend that is opened for this request alone.
func (h *Handler) serveBackend(w http.ResponseWriter, r *http.Request, upstream Upstream) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	d := &direct{stream: newStream(h, w, r, cancel)}
	d.stream.watchClient()
	return d.finish(h.open(ctx, upstream, lastEventID(r), d))
}

// open opens a backend's upstream and counts that.
func (h *Handler) open(ctx context.Context, upstream Upstream, lastID string, sink Sink) (err error) {
	defer func() {
		// What costs a client its connection elsewhere must not cost the server its life because it is a source that asks.
		if e := recover(); e != nil {
			h.logger.Error("upstream panicked", zap.String("backend", h.backendName()), zap.Any("panic", e), zap.StackSkip("stack", 1))
			err = errUpstreamPanicked
		}
	}()
	h.meters.Connects.Inc()
	if alwaysShared(h.backend) {
		return streamOnly(ctx, upstream, sink)
	}
	return upstream.Stream(ctx, lastID, sink)
}

// backendName is what metrics and logs call the backend.
func (h *Handler) backendName() string {
	if h.backend == nil {
		return "next"
	}
	id := string(h.backend.(caddy.Module).CaddyModule().ID)
	return id[strings.LastIndexByte(id, '.')+1:]
}

// warnUpstream counts an upstream's failure and says it in the log, with what else there is to say about it.
func (h *Handler) warnUpstream(err error, about ...zap.Field) {
	h.meters.Failures.Inc()
	if log := h.warnings(h.upstreamWarnings); log != nil {
		log.Warn("upstream failed", append(about, zap.Error(failure.Plain(err)))...)
	}
}

// refuse counts a stream that a client asked for and does not get, and says why in the log: at warn, as Caddy does, what
// is not the client's fault. It returns the handler's error.
func (h *Handler) refuse(r *http.Request, reason string, status int, err error) error {
	h.meters.StreamsRefused[reason].Inc()
	about := []zap.Field{zap.String("reason", reason), zap.Int("status", status), zap.String("uri", askedFor(r)), zap.Error(err)}
	if status < http.StatusInternalServerError {
		h.logger.Debug("stream refused", about...)
	} else if log := h.warnings(h.refusalWarnings); log != nil {
		log.Warn("stream refused", about...)
	}
	return caddyhttp.Error(status, err)
}

// warnTooLarge says in the log that a record is larger than the config allows, or than there is room for.
func (h *Handler) warnTooLarge(why string) {
	if log := h.warnings(h.sizeWarnings); log != nil {
		log.Warn(why, zap.Int64("max_record_size", h.MaxRecordSize), zap.String("policy", h.Oversize))
	}
}

// warnings is the log for a warning of a kind, which says how many there were besides. It is nil if there have been too
// many.
func (h *Handler) warnings(limit *ratelog.Limiter) *zap.Logger {
	ok, dropped := limit.Allow()
	if !ok {
		return nil
	}
	log := h.logger.With(zap.String("backend", h.backendName()))
	if dropped > 0 {
		log = log.With(zap.Int("not_logged", dropped))
	}
	return log
}

// drainBody reads the request's body beside the stream, which no backend does: over HTTP/1 the server notices that a
// client has left only once the body has been read. Who still sends it when the stream ends has a moment left, or would
// be cut off from what was answered. What has not come by then is not waited for; so that nobody takes it for the next
// request, an HTTP/1 connection ends with the stream.
func (h *Handler) drainBody(w http.ResponseWriter, r *http.Request) (stop func()) {
	if r.Body == nil || r.ContentLength == 0 { // Caddy wraps http.NoBody, too
		return func() {}
	}
	controller := http.NewResponseController(w)
	if r.ProtoMajor == 1 {
		_ = controller.EnableFullDuplex() // or the headers wait for the body
		w.Header().Set("Connection", "close")
	}
	// The server's timeouts for reading it would end the stream.
	if reader, _ := caddyhttp.IdleTimeoutsFromContext(r.Context()); reader != nil {
		reader.Deadline.HardDeadline = time.Time{}
		reader.Override(noLimit, 0)
	}
	_ = controller.SetReadDeadline(time.Time{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, r.Body)
	}()
	return func() {
		select {
		case <-done:
		default:
			left := lastWrite
			if stall := time.Duration(h.StallTimeout); stall > 0 {
				left = min(left, stall/2) // the response's last bytes have no longer than that
			}
			_ = controller.SetReadDeadline(time.Now().Add(left))
			<-done
		}
	}
}

// serveUnchanged answers a client that has negotiated for the backend's own format.
func (h *Handler) serveUnchanged(w http.ResponseWriter, r *http.Request) error {
	upstream, err := h.backend.Bind(r)
	if err != nil {
		return err
	}
	defer h.drainBody(w, r)()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	u := &unchanged{stream: newStream(h, w, r, cancel)}
	u.stream.watchClient()
	return u.finish(h.open(ctx, upstream, lastEventID(r), u))
}
