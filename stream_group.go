package sse

import (
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
	"net/http"
	"sync/atomic"
	"time"
)

// streamConfig says how the streams of one sse start, run and end.
type streamConfig struct {
	retry, heartbeat, stallTimeout time.Duration
	maxDuration, maxDurationJitter time.Duration

	drainTime    time.Duration
	defaultDrain bool   // it is not the config's
	drainMode    string // empty: by the method
	onReload     string // empty: by the method
	endFrame     []byte // nil: a clean end has no event

	report *upstream.Reporter
}

// streamGroup is the streams of one sse.
type streamGroup struct {
	streamConfig

	draining atomic.Bool  // another config takes over, or none
	grace    atomic.Int64 // Caddy's grace period, once draining
}

// refuse reports a stream that a client asked for and does not get. It returns the handler's error.
func (g *streamGroup) refuse(r *http.Request, reason string, status int, err error) error {
	return g.report.Refused(askedFor(r), reason, status, err)
}
