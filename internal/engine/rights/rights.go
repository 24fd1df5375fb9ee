// Package rights decides which clients may have a stream, and for how long: expires and recheck.
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

// Server checks a client's right to a stream before the stream is served, and while it runs.
type Server struct {
	// Expires is the time at which a stream ends, with placeholders. Empty means never.
	Expires string

	// Routes answer a request without the right to a stream. They run before a stream opens, and again at each Interval. Nil
	// means that there is no check.
	Routes   caddyhttp.RouteList
	Interval time.Duration

	Streams *stream.Group
}

// Serve calls then if the client has the right to a stream.
func (c *Server) Serve(w http.ResponseWriter, r *http.Request, then caddyhttp.Handler) (err error) {
	if c.Routes == nil {
		return c.serveUntil(w, r, then, new(stream.Rights))
	}
	rights := &stream.Rights{Interval: c.Interval, Refused: c.refused(r)}
	asked := r
	passed := false
	status := &statusWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	defer func() { // also after a panic, such as that of abort
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

// statusClientGone is the status with which reverse_proxy answers a canceled request. It may be the cancellation of another request on
// the same connection.
const statusClientGone = 499

var errRefused = errors.New("recheck has answered the request")

// answer returns the status of an answer that wrote this status or returned err.
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

// statusWriter records the status of a response.
type statusWriter struct {
	*caddyhttp.ResponseWriterWrapper
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriterWrapper.WriteHeader(status)
}

// serveUntil calls then with a request whose stream ends at the time in Expires.
func (c *Server) serveUntil(w http.ResponseWriter, r *http.Request, then caddyhttp.Handler, rights *stream.Rights) error {
	if c.Expires != "" {
		repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		until, err := parseTime(repl.ReplaceAll(c.Expires, ""))
		if err == nil && !until.IsZero() && !until.After(time.Now()) {
			err = errExpired
		}
		if err != nil {
			return c.Streams.Refuse(r, metrics.RefusedExpired, http.StatusForbidden, fmt.Errorf("expires: %w", err))
		}
		rights.Until = until
	}
	return then.ServeHTTP(w, stream.WithRights(r, rights))
}

var errExpired = errors.New("the time has passed")

// parseTime parses a time in RFC 3339 or in seconds since 1970, the form of exp in a JSON Web Token (RFC 7519 §4.1.4). Empty text is
// the zero time.
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
		return time.Time{}, fmt.Errorf("the time must be RFC 3339 or Unix seconds, not %.40q", text)
	}
	whole, fraction := math.Modf(min(max(seconds, 1), last))
	return time.Unix(int64(whole), int64(fraction*1e9)), nil
}

// CheckExpires checks the option expires in a config.
func CheckExpires(text string) error {
	err := argument.CheckKey(text)
	if err == nil && !strings.Contains(text, "{") {
		_, err = parseTime(text)
	}
	return err
}

// refused returns the check for stream.Rights. It runs the routes with the client's request in its present state, without the body.
func (c *Server) refused(r *http.Request) func(context.Context) bool {
	server := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	original := r.Context().Value(caddyhttp.OriginalRequestCtxKey)
	vars := maps.Clone(r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any))
	own, _ := stream.WithOwnTimeouts(r.Context()) // the check must not change the response's timeouts
	own = context.WithValue(own, caddyhttp.VarsCtxKey, vars)
	asked := r.Clone(context.WithoutCancel(own))
	asked.Body, asked.ContentLength, asked.GetBody = http.NoBody, 0, nil
	return func(ctx context.Context) (refused bool) {
		passed := false
		w := &statusWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: noResponse{make(http.Header)}}}
		defer func() {
			switch e := recover(); e {
			case nil:
			case http.ErrAbortHandler: // the directive abort, or an answer that broke off
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

// refuses reports whether an answer with this status refuses the request. A server error does not: the check itself failed.
func refuses(status int) bool {
	return status < http.StatusInternalServerError && status != statusClientGone
}

// noResponse is the response to a check. It discards everything.
type noResponse struct{ header http.Header }

func (w noResponse) Header() http.Header       { return w.header }
func (noResponse) WriteHeader(int)             {}
func (noResponse) Write(p []byte) (int, error) { return len(p), nil }
