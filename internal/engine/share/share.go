package share

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/history"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/direct"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stores"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

// Config is the configuration of share in one sse handler.
type Config struct {
	Key        argument.Key // streams with the same key share an upstream; empty: the upstream's key
	MaxSources int

	Kept         history.Limits
	Replay       int      // -1: all kept events
	Open         []string // the methods of requests that open an upstream; nil: all
	Stop         string   // the method of requests that end a source; empty: none
	LiveFrame    []byte   // the frame of the live event, without its id; nil: none
	Linger, Keep time.Duration
	AfterReload  time.Duration // the shortest linger after a reload, because drained clients reconnect later
	SkipLag      bool          // a client that falls behind continues after a gap
	Ends         bool          // a clean end of the upstream ends the source

	Scope   string // separates sources that have the same key but different backends
	Framing string // separates sources that make different records from the same bytes
	feed    string // equal for configs with the same mapping and the same history limits

	Ending     *mapping.Ending // nil: no record ends an upstream
	Mapping    *mapping.Mapping
	perRequest bool // the mapping depends on the request

	Upstream *upstream.Config
	Streams  *stream.Group
	Direct   *direct.Server

	Store *stores.Connection // nil: sources are in this process's memory
}

// Server serves streams that share upstreams.
type Server struct {
	Config
	report *upstream.Reporter

	Generation uint64      // increases with each config
	stopped    atomic.Bool // the config has stopped
	sources    int         // the number of open sources that it holds; see sourcePool
	standingMu sync.Mutex
	standing   []*source // held while the config runs
}

// generations numbers the configs in the order in which they are made.
var generations atomic.Uint64

// NewServer returns the server for a config. Its Generation is the highest so far.
func NewServer(c Config) *Server {
	c.Kept.Slack, c.Kept.SlackSize = burst, burstSize
	c.perRequest = c.Mapping.PerRequest()
	c.feed = backend.Key(c.Mapping.Key(), strconv.Itoa(c.Kept.Count), strconv.Itoa(c.Kept.Size))
	return &Server{Config: c, report: c.Upstream.Report, Generation: generations.Add(1)}
}

// A log holds up to burst more events than its history, and at least burstSize bytes, for streams that are already
// reading. Otherwise one or two reads from an upstream could put every client behind.
const (
	burst     = 16 << 10
	burstSize = 256 << 10
)

// Hold opens the source of an upstream that must be open before the first client comes, and keeps it until Close.
func (c *Server) Hold(upstream backend.Upstream) {
	c.standingMu.Lock()
	defer c.standingMu.Unlock()
	if c.stopped.Load() {
		return
	}
	src, _, _ := sources.acquire(c, upstream, c.sourceKey(upstream, ""), opening{}) // it has no limit
	c.standing = append(c.standing, src)
}

// holdAnew opens a new source if configs hold the one that has ended: its upstream must be open even without a client.
func (s *source) holdAnew() {
	s.mu.Lock()
	upstream := s.upstream
	s.mu.Unlock()
	for _, c := range sources.holders(s) {
		c.replace(s, upstream)
	}
}

func (c *Server) replace(ended *source, upstream backend.Upstream) {
	c.standingMu.Lock()
	defer c.standingMu.Unlock()
	if i := slices.Index(c.standing, ended); i >= 0 {
		c.standing[i], _, _ = sources.acquire(c, upstream, ended.key, opening{after: sources.placeOf(ended)})
		sources.release(c, ended, nil, 0)
	}
}

// Close releases the sources that Hold has opened. Call it when the config stops.
func (c *Server) Close() {
	c.standingMu.Lock()
	c.stopped.Store(true)
	standing := c.standing
	c.standing = nil
	c.standingMu.Unlock() // a source that ends right now asks what is standing
	for _, src := range standing {
		sources.releaseNow(c, src, nil)
	}
}

// Serve streams a source to one client. Other clients may share it.
func (c *Server) Serve(w http.ResponseWriter, r *http.Request, upstream backend.Upstream) error {
	key, err := c.keyOf(r, upstream)
	if err != nil {
		return err
	}
	lastID := stream.LastEventID(r)
	d := newDelivery()
	v, opened, err := c.join(d, w, r, upstream, key, lastID)
	switch {
	case err == nil:
	case d.stream != nil:
		return d.stream.Finish(nil)
	case errors.Is(err, errGone):
		return caddyhttp.Error(499, err) // no client will read it
	case errors.Is(err, errNoSource):
		return serveNothing(w)
	default:
		w.Header().Set("Retry-After", "5")
		return c.Streams.Refuse(r, metrics.RefusedMaxSources, http.StatusServiceUnavailable, err)
	}
	at := v.beginning(lastID, opened)
	if resumer, ok := upstream.(backend.Resumer); ok && at.lost && resumer.CanResume(lastID) && d.stream == nil {
		v.leave(0)
		return c.Direct.Serve(w, r, upstream)
	}
	d.enter(v, at, w, r)
	panicked := d.run(r.Context())
	err = d.stream.Finish(d.endErr())
	d.close(c.lingerAfter(d.stream))
	if panicked != nil {
		panic(panicked)
	}
	return err
}

// keyOf returns the key of the source for a request.
func (c *Server) keyOf(r *http.Request, upstream backend.Upstream) (string, error) {
	key, err := c.Key.Expand(r)
	if err != nil {
		return "", err
	}
	return c.sourceKey(upstream, key), nil
}

// join returns a view of the source that has the client's last event, even if its upstream has ended. Otherwise, it returns the open
// source, or opens one.
func (c *Server) join(d *delivery, w http.ResponseWriter, r *http.Request, upstream backend.Upstream, key, lastID string) (v *view, opened bool, err error) {
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
	if c.Store != nil {
		return c.joinStored(d, w, r, upstream, key, lastID)
	}
	if !c.Opens(r.Method) {
		src, ok := sources.newest(c, key)
		if !ok {
			return nil, false, errNoSource
		}
		src.adopt(c, upstream)
		return newView(c, r, src), false, nil
	}
	src, opened, err := sources.acquire(c, upstream, key, opening{once: c.isOnce(r.Method)})
	if err != nil {
		return nil, false, err
	}
	return newView(c, r, src), opened, nil
}

// lingerAfter returns how long the source stays open after this stream. A config holds an always shared source, so it needs no linger.
func (c *Server) lingerAfter(s *stream.Stream) time.Duration {
	if c.Upstream.Shared {
		return 0
	}
	if s.EndReason() == stream.EndShutdown && !caddy.Exiting() {
		return max(c.Linger, c.AfterReload)
	}
	return c.Linger
}

// configUpstream is an Upstream that depends on its config, such as the next handler of a route.
type configUpstream interface {
	backend.Upstream

	// SourceKey returns the source's key, made from the key that clients share it by.
	SourceKey(key string) string

	// ReplacedBy reports whether the source must reconnect through newer, the upstream of a newer config.
	ReplacedBy(newer backend.Upstream) bool
}
