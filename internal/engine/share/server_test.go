package share

import (
	"errors"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/history"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/direct"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
	"go.uber.org/zap"
)

// testServer is a server of streams that share upstreams, as a config without options has it.
func testServer(tb testing.TB, options ...func(*Config)) *Server {
	tb.Helper()
	report := upstream.NewReporter("", "test", zap.NewNop(), metrics.New("", "test", stream.EndReasons), 1<<20, "skip")
	config := &upstream.Config{MaxSize: 1 << 20, Oversize: records.Skip, Report: report}
	streams := stream.NewGroup(stream.Config{StallTimeout: time.Hour, Report: report})
	m := testMapping(tb, "{record}")
	c := Config{
		MaxSources: 1000, Kept: history.Limits{Count: 256, Size: 1 << 20}, Linger: 10 * time.Second, Keep: 10 * time.Second,
		Mapping: m, Upstream: config, Streams: streams, Direct: &direct.Server{Upstream: config, Streams: streams, Mapping: m},
	}
	for _, option := range options {
		option(&c)
	}
	return NewServer(c)
}

func testMapping(tb testing.TB, data string) *mapping.Mapping {
	tb.Helper()
	m, err := mapping.Parse(mapping.Spec{Data: data, OnInvalid: mapping.Pass})
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func skipsLag(c *Config) { c.SkipLag = true }

var errTest = errors.New("the test says so")
