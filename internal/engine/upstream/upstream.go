package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// Config says how one sse handler opens its upstreams, and how their bytes become records.
type Config struct {
	IsNext bool // the upstream is the next handler, not a backend
	Shared bool // all streams share the backend's one upstream

	Format   records.Format
	Charset  *records.Charset // nil: from Content-Type
	MaxSize  int
	Oversize records.Oversize
	Timeout  time.Duration // upstream_timeout: an upstream that sends nothing for so long fails; 0: none

	Match  *caddyhttp.ResponseMatcher // selects the responses of the next handler to convert; nil: their content type decides
	Report *Reporter
}

// Options returns the options for records with this Content-Type. The config's options take precedence over the Content-Type.
func (c *Config) Options(contentType string) records.Options {
	o := records.Options{Format: c.Format, Charset: c.Charset, MaxSize: c.MaxSize, Oversize: c.Oversize}
	if o.Format == records.Auto {
		o.Format, _ = records.ForContentType(contentType)
	}
	if o.Charset == nil {
		o.Charset = records.CharsetOf(contentType)
	}
	return o
}

// Open opens an upstream and returns when it has ended. It counts the attempt, recovers panics and applies upstream_timeout.
func (c *Config) Open(ctx context.Context, upstream backend.Upstream, lastID string, sink backend.Sink) (err error) {
	defer func() {
		// net/http recovers a panic in a request's goroutine. A source runs on its own, where a panic would end the process.
		if e := recover(); e != nil {
			c.Report.Logger.Error("upstream panicked", zap.String("backend", c.Report.Backend), zap.Any("panic", e), zap.StackSkip("stack", 1))
			err = ErrPanicked
		}
	}()
	c.Report.Connecting()
	if c.Shared {
		return streamSingle(ctx, upstream, sink)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if silence := c.WatchSilence(cancel); silence != nil {
		defer func() { err = silence.Stop(err) }()
		sink = watchedSink{sink, silence}
	}
	return upstream.Stream(ctx, lastID, sink)
}

// CheckType rejects content types that cannot be records: HTML always, and other non-text types unless the config has a format. For
// the next handler's responses, Converts decides instead.
func (c *Config) CheckType(contentType string) error {
	name := mediaType(contentType)
	_, announced := records.ForContentType(contentType)
	isText := announced != records.NotRecords || strings.HasPrefix(name, "text/") || c.Format != records.Auto
	if c.IsNext || isText && name != "text/html" && name != "application/xhtml+xml" {
		return nil
	}
	return caddyhttp.Error(http.StatusBadGateway, fmt.Errorf("upstream answered with content type %q, which is not one of records: if it is text all the same, set a format", contentType))
}

// AlwaysShared reports whether the backend has exactly one upstream, which all streams share.
func AlwaysShared(b backend.Backend) bool {
	_, ok := b.(backend.AlwaysShared)
	return ok
}

// EndedCleanly reports whether Stream succeeded: nil or exactly ErrEnded. An error that wraps ErrEnded is a failure.
func EndedCleanly(err error) bool { return err == nil || err == backend.ErrEnded }

// Errors of upstreams that did not come to their end.
var (
	ErrBroke    = errors.New("upstream broke off its response")
	ErrPanicked = errors.New("upstream panicked")
)
