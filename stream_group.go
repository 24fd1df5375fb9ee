package sse

import (
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
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

	report *reporter
}

// streamGroup is the streams of one sse.
type streamGroup struct {
	streamConfig

	draining atomic.Bool  // another config takes over, or none
	grace    atomic.Int64 // Caddy's grace period, once draining
}

// refuse counts a stream that a client asked for and does not get, and logs why: at warn, as Caddy does, if it is not the
// client's fault. It returns the handler's error.
func (g *streamGroup) refuse(r *http.Request, reason string, status int, err error) error {
	report := g.report
	report.meters.StreamsRefused[reason].Inc()
	about := []zap.Field{zap.String("reason", reason), zap.Int("status", status), zap.String("uri", askedFor(r)), zap.Error(err)}
	if status < http.StatusInternalServerError {
		report.logger.Debug("stream refused", about...)
	} else if log := report.warnings(report.refusals); log != nil {
		log.Warn("stream refused", about...)
	}
	return caddyhttp.Error(status, err)
}
