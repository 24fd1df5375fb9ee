package sse

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/history"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/direct"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

// shareConfig says how the streams of one sse share upstreams.
type shareConfig struct {
	key        argument.Key // by which they share; empty: by the upstream
	maxSources int

	kept         history.Limits
	replay       int
	linger, keep time.Duration
	afterReload  time.Duration // the least linger after a reload, as its clients come back later than others
	skipLag      bool          // a client that falls behind goes on after a gap
	ends         bool          // a clean end of the upstream is the source's

	scope   string // tells sources of different backends apart that have the same key
	framing string // tells sources apart whose records differ
	feed    string // the same for those that map alike, and keep as much

	mapping    *mapping.Mapping
	perRequest bool // the mapping depends on the request

	upstream *upstream.Config
	streams  *stream.Group
	direct   *direct.Server
}

// shareServer serves streams that share upstreams.
type shareServer struct {
	shareConfig
	report *upstream.Reporter

	generation uint64      // the newer the config, the higher
	stopped    atomic.Bool // another config has taken over
	sources    int         // that it holds and that have an upstream; see sourcePool
	standing   []*source   // held for as long as the config runs
}

// generations numbers the configs in their order.
var generations atomic.Uint64

func newShareServer(c shareConfig) *shareServer {
	c.kept.Slack, c.kept.SlackSize = burst, burstSize
	c.perRequest = c.mapping.PerRequest()
	c.feed = Key(c.mapping.Key(), strconv.Itoa(c.kept.Count), strconv.Itoa(c.kept.Size))
	return &shareServer{shareConfig: c, report: c.upstream.Report, generation: generations.Add(1)}
}

// burst is how many events beyond those of the history are kept for streams that are reading already, and burstSize how
// many bytes at least of both: what a read or two of an upstream bring must not put every client behind.
const (
	burst     = 16 << 10
	burstSize = 256 << 10
)

// hold opens the source of an upstream that must be there before the first client is, and keeps it until close.
func (c *shareServer) hold(upstream Upstream) {
	src, _, _ := sources.acquire(c, upstream, c.sourceKey(upstream, "")) // it has no limit
	c.standing = append(c.standing, src)
}

// close lets go of what is held, once the config has stopped.
func (c *shareServer) close() {
	c.stopped.Store(true)
	for _, src := range c.standing {
		sources.releaseNow(c, src, nil)
	}
	c.standing = nil
}

// serve streams a source that others may stream, too.
func (c *shareServer) serve(w http.ResponseWriter, r *http.Request, upstream Upstream) error {
	shareKey, err := c.key.Expand(r)
	if err != nil {
		return err
	}
	lastID := stream.LastEventID(r)
	v, opened, err := c.join(r, upstream, c.sourceKey(upstream, shareKey), lastID)
	if err != nil {
		w.Header().Set("Retry-After", "5")
		return c.streams.Refuse(r, metrics.RefusedMaxSources, http.StatusServiceUnavailable, err)
	}
	at := v.beginning(lastID, opened)
	if resumer, ok := upstream.(Resumer); ok && at.lost && resumer.CanResume(lastID) {
		v.leave(0)
		return c.direct.Serve(w, r, upstream)
	}
	d := newDelivery(v, at, w, r)
	panicked := d.run(r.Context())
	err = d.stream.Finish(d.endErr())
	d.close(c.lingerAfter(d.stream))
	if panicked != nil {
		panic(panicked)
	}
	return err
}

// join finds the source that has the client's last event, even if its upstream has ended, or else the one that is open,
// or opens one.
func (c *shareServer) join(r *http.Request, upstream Upstream, key, lastID string) (v *view, opened bool, err error) {
	if lastID != "" {
		for _, src := range sources.candidates(c, key) {
			candidate := newView(c, r, src)
			if v == nil {
				if _, ok := candidate.find(lastID); ok {
					v = candidate
					continue
				}
			}
			candidate.leave(0)
		}
		if v != nil {
			v.source.adopt(c, upstream)
			return v, false, nil
		}
	}
	src, opened, err := sources.acquire(c, upstream, key)
	if err != nil {
		return nil, false, err
	}
	return newView(c, r, src), opened, nil
}

// lingerAfter is how long the source is kept after this stream. A source that is always shared is open for as long as a
// config has it, and no longer.
func (c *shareServer) lingerAfter(s *stream.Stream) time.Duration {
	if c.upstream.Shared {
		return 0
	}
	if s.EndReason() == stream.EndShutdown && !caddy.Exiting() {
		return max(c.linger, c.afterReload)
	}
	return c.linger
}

// configUpstream is an Upstream that belongs to the config that has made it, such as the next handler of a route.
type configUpstream interface {
	Upstream

	// SourceKey makes a source's key of that by which clients share it.
	SourceKey(key string) string

	// ReplacedBy reports whether a source that connects through this upstream is to connect anew through a newer config's.
	ReplacedBy(newer Upstream) bool
}
