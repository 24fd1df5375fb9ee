// Package rights decides who may have a stream, and for how long.
package rights

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
)

// Server serves requests that have a right to their streams.
type Server struct {
	// Expires is text with placeholders whose value is the time at which a stream ends. It is empty for no limit.
	Expires string

	// Routes answer requests that have no right. They run when a stream opens, and again at each Interval. They are nil for
	// none.
	Routes   caddyhttp.RouteList
	Interval time.Duration

	Streams *stream.Group
}

// Serve lets then serve the request if that has a right to a stream.
func (c *Server) Serve(w http.ResponseWriter, r *http.Request, then caddyhttp.Handler) (err error) {
	if c.Routes == nil {
		return c.serveUntil(w, r, then, new(stream.Rights))
	}
	rights := &stream.Rights{Interval: c.Interval, Refused: c.refused(r)}
	asked := r
	passed := false
	status := &statusWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	defer func() { // also if it panics, as abort does
		if !passed {
			_ = c.Streams.Refuse(asked, metrics.RefusedUnauthorized, answer(status.status, err), errRefused)
		}
	}()
	err = c.Routes.Compile(caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		passed = true
		return c.serveUntil(w, r, then, rights)
	})).ServeHTTP(status, r)
	return err
}

// statusClientGone is how reverse_proxy answers a request that was cancelled, be it another on the same connection.
const statusClientGone = 499

var errRefused = errors.New("recheck has answered the request")

// answer is the status of routes that have answered with it or with err.
func answer(status int, err error) int {
	var failed caddyhttp.HandlerError
	switch {
	case errors.As(err, &failed) && failed.StatusCode != 0:
		return failed.StatusCode
	case err != nil:
		return http.StatusInternalServerError
	case status == 0:
		return http.StatusOK
	}
	return status
}

// statusWriter notes the status of a response.
type statusWriter struct {
	*caddyhttp.ResponseWriterWrapper
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriterWrapper.WriteHeader(status)
}

// serveUntil lets then serve the request, until the time that the config gives.
func (c *Server) serveUntil(w http.ResponseWriter, r *http.Request, then caddyhttp.Handler, rights *stream.Rights) error {
	if c.Expires != "" {
		repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		until, err := parseTime(repl.ReplaceAll(c.Expires, ""))
		if err == nil && !until.IsZero() && !until.After(time.Now()) {
			err = errExpired
		}
		if err != nil {
			return c.Streams.Refuse(r, metrics.RefusedExpired, http.StatusForbidden, err)
		}
		rights.Until = until
	}
	return then.ServeHTTP(w, stream.WithRights(r, rights))
}

var errExpired = errors.New("the time that expires gives has passed")

// parseTime reads a time, as RFC 3339 or as seconds since 1970, as the exp of a JSON Web Token is. Empty text is the zero
// time.
func parseTime(text string) (time.Time, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	const last = 253402300799 // the end of the year 9999
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(seconds) {
		return time.Time{}, fmt.Errorf("expires must give a time, as RFC 3339 or as Unix seconds, not %.40q", text)
	}
	whole, fraction := math.Modf(min(max(seconds, 1), last))
	return time.Unix(int64(whole), int64(fraction*1e9)), nil
}

// CheckExpires reports what is wrong with a config's Expires.
func CheckExpires(text string) error {
	err := argument.CheckKey(text)
	if err == nil && !strings.Contains(text, "{") {
		_, err = parseTime(text)
	}
	if err != nil {
		return fmt.Errorf("expires: %w", err)
	}
	return nil
}

// refused returns a check that runs the routes with the client's request, as it is now. Its body is not there any more.
func (c *Server) refused(r *http.Request) func(context.Context) bool {
	server := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	original := r.Context().Value(caddyhttp.OriginalRequestCtxKey)
	vars := maps.Clone(r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any))
	own, _ := stream.WithOwnTimeouts(r.Context()) // those of the response are its stream's
	own = context.WithValue(own, caddyhttp.VarsCtxKey, vars)
	asked := r.Clone(context.WithoutCancel(own))
	asked.Body, asked.ContentLength, asked.GetBody = http.NoBody, 0, nil
	return func(ctx context.Context) (refused bool) {
		passed := false
		w := &statusWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: noResponse{make(http.Header)}}}
		defer func() {
			switch e := recover(); e {
			case nil:
			case http.ErrAbortHandler: // it is abort, or has broken off an answer
				refused = !passed && ctx.Err() == nil && refuses(answer(w.status, nil))
			default:
				c.Streams.Report.Logger.Error("recheck panicked", zap.Any("panic", e), zap.StackSkip("stack", 1))
			}
		}()
		checked, cancel := context.WithCancel(asked.Context())
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		r := caddyhttp.PrepareRequest(asked.Clone(checked), caddy.NewReplacer(), w, server)
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, original))
		maps.Copy(r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any), vars)
		err := c.Routes.Compile(caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
			passed = true
			return nil
		})).ServeHTTP(w, r)
		return !passed && ctx.Err() == nil && refuses(answer(w.status, err))
	}
}

// refuses reports whether routes that have answered with that status refuse the request. Others could not tell.
func refuses(status int) bool {
	return status < http.StatusInternalServerError && status != statusClientGone
}

// noResponse is the response of a check: it goes nowhere.
type noResponse struct{ header http.Header }

func (w noResponse) Header() http.Header       { return w.header }
func (noResponse) WriteHeader(int)             {}
func (noResponse) Write(p []byte) (int, error) { return len(p), nil }
