package sse

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// upstreamConfig says how one sse opens its upstreams, and how their bytes become records.
type upstreamConfig struct {
	isNext bool // the upstream is the next handler, not a backend
	shared bool // all streams share the backend's one upstream

	format   records.Format
	charset  *records.Charset // nil: from Content-Type
	maxSize  int
	oversize records.Oversize

	match  *caddyhttp.ResponseMatcher // responses of the next handler that are converted; nil: by their content type
	report *reporter
}

// options resolves what the config leaves to the upstream's Content-Type.
func (c *upstreamConfig) options(contentType string) records.Options {
	o := records.Options{Format: c.format, Charset: c.charset, MaxSize: c.maxSize, Oversize: c.oversize}
	if o.Format == records.Auto {
		o.Format, _ = records.ForContentType(contentType)
	}
	if o.Charset == nil {
		o.Charset = records.CharsetOf(contentType)
	}
	return o
}

// open opens an upstream and counts that.
func (c *upstreamConfig) open(ctx context.Context, upstream Upstream, lastID string, sink Sink) (err error) {
	defer func() {
		// net/http recovers a panic in a request's goroutine. A source runs on its own, where a panic would end the process.
		if e := recover(); e != nil {
			c.report.logger.Error("upstream panicked", zap.String("backend", c.report.backend), zap.Any("panic", e), zap.StackSkip("stack", 1))
			err = errUpstreamPanicked
		}
	}()
	c.report.connecting()
	if c.shared {
		return streamOnly(ctx, upstream, sink)
	}
	return upstream.Stream(ctx, lastID, sink)
}

// checkType rejects what cannot be records: a page that stands in their place, and, unless the config has a format, what
// is no text. The next handler's responses are checked by converts instead.
func (c *upstreamConfig) checkType(contentType string) error {
	name := mediaType(contentType)
	_, announced := records.ForContentType(contentType)
	isText := announced != records.NotRecords || strings.HasPrefix(name, "text/") || c.format != records.Auto
	if c.isNext || isText && name != "text/html" && name != "application/xhtml+xml" {
		return nil
	}
	return caddyhttp.Error(http.StatusBadGateway, fmt.Errorf("upstream answered with content type %q, which is not one of records: if it is text all the same, set a format", contentType))
}

// alwaysShared reports whether the backend has exactly one upstream, which all streams share.
func alwaysShared(b Backend) bool {
	_, ok := b.(AlwaysShared)
	return ok
}

// endedCleanly reports whether Stream succeeded: nil or exactly ErrEnded. An error that wraps ErrEnded is a failure.
func endedCleanly(err error) bool { return err == nil || err == ErrEnded }

var (
	errUpstreamBroke    = errors.New("upstream broke off its response")
	errUpstreamPanicked = errors.New("upstream panicked")
)
