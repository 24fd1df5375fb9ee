package nexthandler

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

// askNext runs the next handler. After it has sent its headers, reverse_proxy reports every failure as a panic with
// http.ErrAbortHandler. If catch returns true, askNext returns upstream.ErrBroke instead.
//
// The handler has its own goroutine, because not every handler returns when its request is canceled: over FastCGI, reverse_proxy
// waits until its upstream sends something. A shutdown must not wait for that, and a client that has left must not be counted
// any longer. askNext abandons such a handler.
func askNext(next caddyhttp.Handler, w *responseWriter, r *http.Request, catch func() bool) error {
	type end struct {
		err      error
		panicked any
	}
	ended := make(chan end, 1)
	broke := new(atomic.Bool)
	r = r.WithContext(context.WithValue(r.Context(), stream.BrokenOff, broke))
	go func() {
		var e end
		defer func() {
			if e.panicked = recover(); e.panicked != nil && e.panicked != http.ErrAbortHandler {
				e.panicked = fmt.Sprintf("%v\n\n%s", e.panicked, debug.Stack())
			}
			ended <- e
		}()
		e.err = next.ServeHTTP(w, r)
	}()

	var e end
	select {
	case e = <-ended:
	case <-r.Context().Done():
		select {
		case e = <-ended:
		case <-time.After(stream.LastWrite):
			if w.abandon() {
				return upstream.ErrBroke
			}
			e = <-ended
		}
	}
	switch {
	case e.panicked == nil && e.err == nil && broke.Load():
		return upstream.ErrBroke
	case e.panicked == nil:
		return e.err
	case e.panicked == http.ErrAbortHandler && catch():
		return upstream.ErrBroke
	default:
		panic(e.panicked)
	}
}

// quietContext returns a context for a request to the next handler, and its cancel function. If quiet returns true at the end, the
// cause is io.EOF, so that the handler logs nothing: Go's HTTP/1 transport returns the cause from the body's Read, and
// reverse_proxy takes io.EOF for the end of the body.
func quietContext(ctx context.Context, quiet func() bool) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	return ctx, func() {
		if quiet() {
			cancel(io.EOF)
		} else {
			cancel(context.Canceled)
		}
	}
}

// withHeader returns a copy of r with ctx and its own header map.
func withHeader(ctx context.Context, r *http.Request) *http.Request {
	r = r.WithContext(ctx)
	r.Header = r.Header.Clone()
	return r
}

// restoreHeader resets the headers to those in before.
func restoreHeader(header, before http.Header) {
	clear(header)
	for name, values := range before {
		header[name] = slices.Clone(values)
	}
}
