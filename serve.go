package sse

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/accept"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/viewer"
)

// ServeHTTP serves an event stream. Without a backend, a response of the next handler that has no records passes unchanged.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	switch {
	case h.backend == nil && !h.opensByMethod():
	case r.Method == http.MethodOptions, r.Method == http.MethodTrace, r.Method == http.MethodConnect:
		return refuseMethod(w, r)
	}
	if h.OnUnavailable == onUnavailableRetry && upstream.NamesEventStream(r) {
		return h.streams.RetryUnavailable(w, r, func(w http.ResponseWriter, r *http.Request) error { return h.serveWithRights(w, r, next) })
	}
	return h.serveWithRights(w, r, next)
}

// serveWithRights serves a request if its client has the right to a stream.
func (h *Handler) serveWithRights(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if h.rights == nil {
		return h.serve(w, r, next)
	}
	return h.rights.Serve(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		return h.serve(w, r, next)
	}))
}

// serve serves an event stream, or the viewer page, or a response for a client that accepts neither.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if h.Share != nil && h.Share.Stop != "" && r.Method == h.Share.Stop {
		r = stream.TakeLastEventID(r)
		upstream, err := h.upstreamOf(w, r, next)
		if err != nil {
			return err
		}
		return h.share.ServeStop(w, r, upstream)
	}
	if h.Viewer && viewer.WantsPage(r) {
		return h.page.Serve(w, r)
	}
	if !h.accepts(r) {
		stream.AddVary(w.Header())
		switch {
		case h.Accept != acceptNegotiate:
			return h.streams.Refuse(r, metrics.RefusedAccept, h.AcceptStatus, errors.New("client does not accept text/event-stream"))
		case h.backend == nil:
		case upstream.AlwaysShared(h.backend):
			return h.streams.Refuse(r, metrics.RefusedAccept, h.AcceptStatus, fmt.Errorf("client does not accept text/event-stream, and backend %s has no response of its own", backendName(h.backend)))
		case r.Method == http.MethodHead:
			return h.serveHead(w, r, stream.AddVary)
		}
		leave, err := h.limits.Enter(w, r)
		if err != nil {
			return err
		}
		defer leave()
		return h.serveUnchanged(w, r, next, leave)
	}
	if h.End != nil && h.End.Stop && stream.LastEventID(r) == eventstream.EndID {
		stream.AddVary(w.Header())
		w.Header().Set("Cache-Control", "no-store") // a 204 could be cached otherwise (RFC 9110 §15.3.5)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	switch {
	case r.Method == http.MethodHead && h.opensByMethod():
		r = stream.TakeLastEventID(r)
		upstream, err := h.upstreamOf(w, r, next)
		if err != nil {
			return err
		}
		return h.share.ServeHead(w, r, upstream)
	case r.Method == http.MethodHead && h.backend != nil:
		return h.serveHead(w, r, func(header http.Header) { h.streams.SetHeaders(header, r) })
	}
	leave, err := h.limits.Enter(w, r)
	if err != nil {
		return err
	}
	defer leave()
	return h.serveStream(w, r, next, leave)
}

// accepts reports whether the client accepts an event stream, as the option accept says.
func (h *Handler) accepts(r *http.Request) bool {
	switch {
	case h.Accept == acceptOff:
		return true
	case h.Accept == acceptStrict:
		return upstream.NamesEventStream(r)
	case h.Accept == acceptStandard && r.Method != http.MethodGet && r.Method != http.MethodHead:
		return true // the SDKs of language models send POST requests for a stream with Accept: application/json
	default:
		return accept.Quality(r.Header["Accept"], "text/event-stream") > 0
	}
}

// serveStream serves an event stream. It calls leave if the response is not a stream after all.
func (h *Handler) serveStream(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, leave func()) error {
	shares := h.share != nil && (h.backend != nil || r.Method == http.MethodGet || h.opensByMethod())
	if !shares && h.backend == nil {
		return h.next.Serve(w, r, next, leave)
	}
	if shares {
		r = stream.TakeLastEventID(r)
	}
	upstream, err := h.upstreamOf(w, r, next)
	if err != nil {
		return err
	}
	if !h.readsBody(r) {
		defer h.streams.DrainBody(w, r)()
	}
	if shares {
		return h.share.Serve(w, r, upstream)
	}
	return h.direct.Serve(w, r, upstream)
}

// opensByMethod reports whether only requests with some methods open a shared upstream: the option open.
func (h *Handler) opensByMethod() bool { return h.Share != nil && len(h.Share.Open) > 0 }

// readsBody reports whether the request's body is read before the upstream is opened, as it is for the next handler with open.
func (h *Handler) readsBody(r *http.Request) bool {
	return h.backend == nil && h.opensByMethod() && h.share.Opens(r.Method)
}

// upstreamOf returns the upstream for a request: that of the backend, or the next handler as a shared upstream.
func (h *Handler) upstreamOf(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) (Upstream, error) {
	if h.backend != nil {
		return h.backend.Bind(r)
	}
	return h.next.Upstream(w, r, next, h.readsBody(r))
}

// serveUnchanged answers a client that prefers the upstream's own format.
func (h *Handler) serveUnchanged(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, leave func()) error {
	if h.backend == nil {
		return h.next.ServeUnchanged(w, r, next, leave)
	}
	upstream, err := h.backend.Bind(r)
	if err != nil {
		return err
	}
	defer h.streams.DrainBody(w, r)()
	return h.direct.ServeUnchanged(w, r, upstream)
}

// refuseMethod answers requests with the methods OPTIONS, TRACE and CONNECT, which open no upstream. The next handler does not get
// them, because it may answer CONNECT with the records.
func refuseMethod(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return caddyhttp.Error(http.StatusMethodNotAllowed, fmt.Errorf("method %s opens no stream", r.Method))
}

// serveHead answers a HEAD request with the headers for GET, without opening an upstream.
func (h *Handler) serveHead(w http.ResponseWriter, r *http.Request, setHeaders func(http.Header)) error {
	if _, err := h.backend.Bind(r); err != nil {
		return err
	}
	setHeaders(w.Header())
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush() // without it, an HTTP/3 response would have a Content-Length of 0
	return nil
}
