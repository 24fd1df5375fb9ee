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
)

// serve opens the stream of a request that is to get one.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if h.backend == nil {
		if h.Share != nil && r.Method == http.MethodGet {
			return h.serveShared(w, r, h.newNextUpstream(r, next))
		}
		return h.serveNext(w, r, next)
	}
	upstream, err := h.backend.Bind(r)
	if err != nil {
		return err
	}
	drainBody(r)
	if h.Share != nil {
		return h.serveShared(w, r, upstream)
	}
	return h.serveBackend(w, r, upstream)
}

// serveNext streams the response of the next handler, if it is one of records.
func (h *Handler) serveNext(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	before := w.Header().Clone()
	rw := &responseWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	ctx, cancel := quietContext(r.Context(), rw.quiet.Load)
	defer cancel()
	rw.direct = &direct{stream: newStream(h, w, r, cancel)}
	rw.direct.stream.watchClient()

	request := withHeader(ctx, r)
	h.upstreamHeader(request.Header)
	err := errUpstreamPanicked
	defer func() {
		if err == errUpstreamPanicked {
			_ = rw.finish(err)
		}
	}()
	err = askNext(next, rw, request, rw.quiet.Load)
	if rw.refusal != nil {
		restoreHeader(w.Header(), before)
		err = rw.refusal
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
func (h *Handler) open(ctx context.Context, upstream Upstream, lastID string, sink Sink) error {
	connects.WithLabelValues(h.backendName()).Inc()
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

// warnUpstream counts an upstream's failure and says it in the log, though not each time: an upstream that is
// down fails every client, over and over.
func (h *Handler) warnUpstream(err error) {
	failures.WithLabelValues(h.backendName()).Inc()
	if mayWarn(&h.lastWarned) {
		h.logger.Warn("upstream failed", zap.String("backend", h.backendName()), zap.Error(plainError(err)))
	}
}

// warnTooLarge says in the log, though not each time, that a record is larger than the config allows.
func (h *Handler) warnTooLarge() {
	if mayWarn(&h.lastTooLarge) {
		h.logger.Warn("record is larger than max_record_size", zap.String("backend", h.backendName()),
			zap.Int64("max_record_size", h.MaxRecordSize), zap.String("policy", h.Oversize))
	}
}

// mayWarn limits the rate of a warning; last is when it was last given.
func mayWarn(last *atomic.Int64) bool {
	const interval = 10 * time.Second
	now, before := time.Now().UnixNano(), last.Load()
	return now-before >= int64(interval) && last.CompareAndSwap(before, now)
}

// drainBody reads the request's body, which no backend does: over HTTP/1 the server notices that a client has
// left only once the body has been read.
func drainBody(r *http.Request) {
	const most = 1 << 20
	if r.Body != nil {
		_, _ = io.CopyN(io.Discard, r.Body, most)
	}
}

// serveUnchanged answers a client that has negotiated for the backend's own format.
func (h *Handler) serveUnchanged(w http.ResponseWriter, r *http.Request) error {
	if _, shared := h.backend.(AlwaysShared); shared {
		return caddyhttp.Error(h.AcceptStatus, fmt.Errorf("client does not accept text/event-stream, and backend %s has no response of its own", h.backendName()))
	}
	upstream, err := h.backend.Bind(r)
	if err != nil {
		return err
	}
	drainBody(r)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	u := &unchanged{stream: newStream(h, w, r, cancel)}
	u.stream.watchClient()
	return u.finish(h.open(ctx, upstream, lastEventID(r), u))
}
