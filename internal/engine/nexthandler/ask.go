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

// askNext runs the next handler. After its headers reverse_proxy reports every failure as a panic with
// http.ErrAbortHandler; if catch says so, that becomes errUpstreamBroke.
//
// The handler has a goroutine of its own, as not every one ends when its request does: over FastCGI, reverse_proxy
// waits for its upstream to say something. A stop must not wait for that, nor may a client that has left still
// count as one. Such a handler is left behind.
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

// quietContext is the context of a request to the next handler whose end leaves no line in the log: once quiet
// says so, it ends with io.EOF as its cause, which Go's HTTP/1 transport returns from the body's Read, so that
// reverse_proxy sees a body that has come to its end.
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

// withHeader is r, with ctx and a header map of its own.
func withHeader(ctx context.Context, r *http.Request) *http.Request {
	r = r.WithContext(ctx)
	r.Header = r.Header.Clone()
	return r
}

// restoreHeader undoes what the next handler did to the headers of a response that is not sent.
func restoreHeader(header, before http.Header) {
	clear(header)
	for name, values := range before {
		header[name] = slices.Clone(values)
	}
}
