package stream

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

// The values of DrainMode and OnReload in Config.
const (
	DrainSpread  = "spread"
	DrainWait    = "wait"
	OnReloadEnd  = "end"
	OnReloadKeep = "keep"
)

// Config is the configuration of the streams of one sse handler.
type Config struct {
	Retry, Heartbeat, StallTimeout time.Duration
	MaxDuration, MaxDurationJitter time.Duration
	OpenAfter                      time.Duration // 0: a stream opens when its upstream has answered

	HasRights bool // streams end with the rights of their clients

	DrainTime      time.Duration
	DefaultDrain   bool   // DrainTime is the default, not from the config
	DrainMode      string // empty: depends on the request's method
	OnReload       string // empty: depends on the request's method
	HeartbeatFrame []byte // nil: a comment
	EndFrame       []byte // the event for a clean end; nil: none
	Error          *frame.ErrorEvent

	Compress []string // the names of the codings, in order of preference; empty: streams are not compressed

	Report *upstream.Reporter
}

// Group holds what the streams of one sse handler have in common.
type Group struct {
	Config

	draining atomic.Bool  // the config stops
	grace    atomic.Int64 // Caddy's grace period, set when the config stops
}

// NewGroup returns a group without streams.
func NewGroup(c Config) *Group {
	if c.HeartbeatFrame == nil {
		c.HeartbeatFrame = []byte(eventstream.Comment)
	}
	openStreams.count(c.Report.Name, total{}) // so that the metrics have its series from the start
	return &Group{Config: c}
}

// Refuse counts and logs a stream that a client asked for and does not get. It returns the handler's error.
func (g *Group) Refuse(r *http.Request, reason string, status int, err error) error {
	return g.Report.Refused(askedFor(r), reason, status, err)
}
