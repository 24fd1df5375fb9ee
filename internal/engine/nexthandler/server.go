package nexthandler

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/routeid"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/direct"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

// Server serves streams that come from responses of the next handler.
type Server struct {
	Config  *upstream.Config
	Streams *stream.Group
	Direct  *direct.Server
	route   routeid.Identity // the next handler's route, if streams share its responses
	unknown bool             // the route cannot be told from those of other configs
}

// FindRoute finds the identity of the handler's route, which stays the same over reloads. It reports whether streams can share the
// next handler's responses.
func (c *Server) FindRoute(ctx caddy.Context, config string) (shareable bool) {
	var err error
	if c.route, err = routeid.Of(ctx); err == nil {
		return true
	}
	c.unknown = true
	c.route.Digest = backend.Key("config", config) // not the same in another config
	logger := c.Config.Report.Logger
	if errors.Is(err, routeid.ErrManyPlaces) {
		logger.Warn("share has no effect: give each route that invokes the named route an sse of its own", zap.Error(err))
		return false
	}
	logger.Warn("sources of this route will not survive a reload, as it cannot be recognized", zap.Error(err))
	return true
}

// KnowsRoute reports whether FindRoute has found an identity that stays the same over reloads.
func (c *Server) KnowsRoute() bool { return !c.unknown }

// Serve streams the next handler's response if it has records. Otherwise the response passes unchanged, and Serve calls leave.
func (c *Server) Serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, leave func()) error {
	before := w.Header().Clone()
	quiet := new(atomic.Bool)
	ctx, cancel := quietContext(r.Context(), quiet.Load)
	defer cancel()
	s := c.Streams.New(w, r, cancel)
	s.WatchClient()

	ctx, adoptTimeouts := stream.WithOwnTimeouts(ctx)
	var rw *responseWriter
	err := upstream.ErrPanicked
	defer func() {
		if err == upstream.ErrPanicked {
			_ = rw.finish(err)
		}
	}()
	ask := func(request *http.Request) error {
		ctx, refuse := context.WithCancelCause(request.Context())
		defer refuse(nil)
		d := c.Direct.NewSink(s)
		rw = &responseWriter{
			ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, upstream: c.Config,
			sink: d, refuse: func() { refuse(io.EOF) },
			client: &client{Sink: d, quiet: quiet, mayBePart: asksForPart(request.Header), adoptTimeouts: adoptTimeouts, leave: leave},
		}
		request = request.WithContext(ctx)
		if rw.silence = c.Config.WatchSilence(rw.endSilent); rw.silence != nil && request.ContentLength != 0 {
			request.Body = upload{request.Body, rw.silence}
		}
		if c.opensEarly(request) {
			stop := rw.openAfter(c.Streams.OpenAfter)
			defer stop()
		}
		err := askNext(next, rw, request, quiet.Load)
		_ = rw.silence.Stop(nil)
		if rw.wasRejected() {
			if !rw.early {
				restoreHeader(w.Header(), before)
			}
			err = rw.err
		}
		return err
	}
	request := c.request(ctx, r)
	whole, url := request, *r.URL
	if asksForPart(request.Header) {
		whole = withHeader(ctx, request)
		deleteAll(whole.Header, partialFields)
		request = request.WithContext(withOwnGroups(ctx))
	}
	if err = ask(request); err == errPartOfRecords && !rw.isLeftBehind() {
		*whole.URL = url // handlers have rewritten it in place
		quiet.Store(false)
		err = upstream.ErrPanicked
		err = ask(whole)
	}
	return rw.finish(err)
}

// upload is the body of a request to an upstream with upstream_timeout. The time in which the client sends the body does not count.
type upload struct {
	io.ReadCloser
	silence *upstream.Silence
}

func (u upload) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	u.silence.Heard()
	return n, err
}
