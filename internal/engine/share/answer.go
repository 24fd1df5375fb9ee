package share

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

// Opens reports whether a request with this method may open an upstream.
func (c *Server) Opens(method string) bool {
	return len(c.Open) == 0 || slices.Contains(c.Open, method)
}

// isOnce reports whether an upstream that a request with this method has opened is never opened again without a request. Such a
// request may change something, or its answer may be expensive.
func (c *Server) isOnce(method string) bool {
	return len(c.Open) > 0 && method != http.MethodGet && method != http.MethodHead
}

// allOnce reports whether no upstream is ever opened again without a request.
func (c *Server) allOnce() bool {
	return len(c.Open) > 0 && !slices.ContainsFunc(c.Open, func(method string) bool { return !c.isOnce(method) })
}

var errNothingToStop = errors.New("there is no source to stop")

// errNoSource means that a request whose method opens no upstream has no source to join.
var errNoSource = errors.New("no source is open or kept, and this method opens none")

// serveNothing answers a request without a source to join. EventSource then stays closed.
func serveNothing(w http.ResponseWriter) error {
	stream.AddVary(w.Header())
	w.Header().Set("Cache-Control", "no-store") // a 204 could be cached otherwise (RFC 9110 §15.3.5)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// ServeHead answers a HEAD request as a GET request, without opening or joining a source.
func (c *Server) ServeHead(w http.ResponseWriter, r *http.Request, upstream backend.Upstream) error {
	key, err := c.keyOf(r, upstream)
	if err != nil {
		return err
	}
	if !c.Opens(http.MethodGet) && !c.exists(r, upstream, key) {
		return serveNothing(w)
	}
	c.Streams.SetHeaders(w.Header(), r)
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush() // without it, an HTTP/3 response would have a Content-Length of 0
	return nil
}

func (c *Server) exists(r *http.Request, upstream backend.Upstream, key string) bool {
	if c.Store == nil {
		return sources.exists(key)
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	return c.existsStored(ctx, upstream, key)
}

// ServeStop ends the sources with the request's key. Their clients get the remaining events and the end event.
func (c *Server) ServeStop(w http.ResponseWriter, r *http.Request, asked backend.Upstream) error {
	key, err := c.keyOf(r, asked)
	if err != nil {
		return err
	}
	if c.Store != nil {
		ctx, cancel := context.WithTimeout(r.Context(), endTimeout)
		defer cancel()
		switch found, err := c.stopStored(ctx, asked, key); {
		case found:
			w.WriteHeader(http.StatusNoContent)
			return nil
		case err != nil:
			w.Header().Set("Retry-After", "5")
			return caddyhttp.Error(http.StatusServiceUnavailable, fmt.Errorf("the store does not say whether there is a source to stop: %w", err))
		default:
			return caddyhttp.Error(http.StatusNotFound, errNothingToStop)
		}
	}
	list := sources.endAll(key)
	if len(list) == 0 {
		return caddyhttp.Error(http.StatusNotFound, errNothingToStop)
	}
	for _, s := range list {
		s.halt(upstream.ErrStopped)
		sources.close(s, func() bool { return true })
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// exists reports whether there is a source with this key, open or kept after its end.
func (p *sourcePool) exists(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.byKey[key]) > 0
}

// newest returns the newest source with this key, open or kept after its end. The caller must release it.
func (p *sourcePool) newest(c *Server, key string) (s *source, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.byKey[key]
	if len(list) == 0 {
		return nil, false
	}
	s = list[len(list)-1]
	p.hold(c, s)
	return s, true
}

// endAll ends the sources with this key and removes them from the pool. It returns them.
func (p *sourcePool) endAll(key string) []*source {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := slices.Clone(p.byKey[key])
	for _, s := range list {
		p.endLocked(s)
		p.forgetLocked(s)
	}
	return list
}
