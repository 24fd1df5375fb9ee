package sse

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
)

// serve opens the stream of a request that is to get one. It calls leave if the response turns out to be none.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, leave func()) error {
	shares := h.share != nil && (h.backend != nil || r.Method == http.MethodGet)
	if shares {
		r = stream.TakeLastEventID(r)
	}
	if h.backend == nil {
		if shares {
			return h.share.Serve(w, r, h.next.Upstream(r, next))
		}
		return h.next.Serve(w, r, next, leave)
	}
	upstream, err := h.backend.Bind(r)
	if err != nil {
		return err
	}
	defer h.streams.DrainBody(w, r)()
	if shares {
		return h.share.Serve(w, r, upstream)
	}
	return h.direct.Serve(w, r, upstream)
}

// serveUnchanged answers a client that has negotiated for the upstream's own format.
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

// backendName returns what metrics and logs call a backend, nil for the next handler.
func backendName(b Backend) string {
	if b == nil {
		return "next"
	}
	id := string(b.(caddy.Module).CaddyModule().ID)
	return id[strings.LastIndexByte(id, '.')+1:]
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
