package stream

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

// The values of Config's choices.
const (
	DrainSpread  = "spread"
	DrainWait    = "wait"
	OnReloadEnd  = "end"
	OnReloadKeep = "keep"
)

// Config says how the streams of one sse start, run and end.
type Config struct {
	Retry, Heartbeat, StallTimeout time.Duration
	MaxDuration, MaxDurationJitter time.Duration
	OpenAfter                      time.Duration // 0: a stream opens once its upstream has answered

	HasRights bool // streams end with the rights of their clients

	DrainTime      time.Duration
	DefaultDrain   bool   // it is not the config's
	DrainMode      string // empty: by the method
	OnReload       string // empty: by the method
	HeartbeatFrame []byte // nil: a comment
	EndFrame       []byte // nil: a clean end has no event
	Error          *frame.ErrorEvent

	Compress []string // the names of the codings to compress with, the preferred one first

	Report *upstream.Reporter
}

// Group is the streams of one sse.
type Group struct {
	Config

	draining atomic.Bool  // another config takes over, or none
	grace    atomic.Int64 // Caddy's grace period, once draining
}

// NewGroup returns the streams of one sse, of which there are none yet.
func NewGroup(c Config) *Group {
	if c.HeartbeatFrame == nil {
		c.HeartbeatFrame = []byte(eventstream.Comment)
	}
	openStreams.count(c.Report.Name, total{}) // so that its series is there from the start
	return &Group{Config: c}
}

// Refuse reports a stream that a client asked for and does not get. It returns the handler's error.
func (g *Group) Refuse(r *http.Request, reason string, status int, err error) error {
	return g.Report.Refused(askedFor(r), reason, status, err)
}
