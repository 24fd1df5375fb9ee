package share

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/store"
)

// sources holds the sources in this process, by key. Each source is held by the streams that share it.
var sources sourcePool

// sourcePool finds sources. Its lock is held only for lookups and counts. Locks that may be held longer, such as a source's
// own, are taken after it is released.
type sourcePool struct {
	mu    sync.Mutex
	byKey map[string][]*source // all sources with a key except the last one have ended and are kept
	all   map[*source]struct{} // all sources whose upstream is not closed
}

// holding is the state of a source in the pool. It is guarded by the pool's lock.
type holding struct {
	refs    int
	holders map[*Server]int // for max_sources
	ended   bool            // its upstream has ended
	place   store.Pos       // the position of its end in the store
	forGood bool            // the upstream has ended for good, so a new source is of no use
	closing bool
	forget  *time.Timer // runs for the option keep
}

var errTooManySources = errors.New("max_sources is reached")

// opening says how a new source is opened.
type opening struct {
	once    bool      // it is not opened again by itself
	looksUp bool      // only if another process has opened it; with a store
	after   store.Pos // the place in the store at which the one before it has ended, as far as the caller knows
}

// acquire returns the source with this key. It opens one if there is none. The caller must release it.
func (p *sourcePool) acquire(c *Server, upstream backend.Upstream, key string, how opening) (s *source, opened bool, err error) {
	if s, opened, err = p.find(c, upstream, key, how); err == nil && !opened {
		s.adopt(c, upstream)
		if !how.looksUp {
			s.openWith(upstream, how.once)
		}
	}
	return s, opened, err
}

func (p *sourcePool) find(c *Server, upstream backend.Upstream, key string, how opening) (s *source, opened bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if list := p.byKey[key]; len(list) > 0 {
		s := list[len(list)-1]
		if !s.ended || s.forGood {
			p.hold(c, s)
			return s, false, nil
		}
		how.after = max(how.after, s.place)
	}
	if c.sources >= c.MaxSources && !c.Upstream.Shared {
		return nil, false, errTooManySources
	}
	if p.byKey == nil {
		p.byKey, p.all = make(map[string][]*source), make(map[*source]struct{})
	}
	s = newSource(c, key, upstream)
	s.once.Store(how.once)
	s.after = how.after
	s.mayLead.Store(!how.looksUp)
	p.hold(c, s)
	p.byKey[key], p.all[s] = append(p.byKey[key], s), struct{}{}
	c.report.Meters.SourcesActive.Inc()
	go s.run()
	return s, true, nil
}

// candidates returns the sources with this key, newest first, if one of them has ended. A client's last id shows which of them the client
// had. The caller must release each.
func (p *sourcePool) candidates(c *Server, key string) []*source {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := slices.Clone(p.byKey[key])
	if !slices.ContainsFunc(list, func(s *source) bool { return s.ended }) {
		return nil
	}
	for _, s := range list {
		p.hold(c, s)
	}
	slices.Reverse(list)
	return list
}

// hold adds a reference to a source. The pool is locked.
func (p *sourcePool) hold(c *Server, s *source) {
	if s.holders == nil {
		s.holders = make(map[*Server]int)
	}
	if s.holders[c] == 0 && !s.ended {
		c.sources++
	}
	s.refs++
	s.holders[c]++
	s.held.Store(true)
}

// letGo reverses hold.
func (p *sourcePool) letGo(c *Server, s *source) {
	s.refs--
	s.held.Store(s.refs > 0)
	if s.holders[c]--; s.holders[c] > 0 {
		return
	}
	delete(s.holders, c)
	if !s.ended {
		c.sources--
	}
}

// sourceKey returns the key of a source. It has the upstream's key or the key from the config, the framing, and whether a clean end of the
// upstream ends the source. An always shared upstream ends in the same way for all configs.
func (c *Server) sourceKey(upstream backend.Upstream, shareKey string) string {
	key := backend.Key("upstream", upstream.Key())
	if shareKey != "" && !c.Upstream.Shared {
		key = backend.Key("share", c.Scope, shareKey)
	}
	if own, ok := upstream.(configUpstream); ok {
		key = own.SourceKey(key)
	}
	return c.storeKey() + backend.Key(key, c.Framing, strconv.FormatBool(c.Ends && !c.Upstream.Shared))
}

// storeKey returns the beginning of the keys of sources in the config's store.
func (c *Server) storeKey() string {
	if c.Store == nil {
		return ""
	}
	return backend.Key("store", c.Store.Key)
}

// commonKey returns the part of a source's key that is the same in all processes. Their configs may name the store differently.
func (c *Server) commonKey(key string) string { return strings.TrimPrefix(key, c.storeKey()) }

// release drops a reference to the source after linger, and to the stream's feed if f is not nil. It does not wait until the upstream is
// closed.
func (p *sourcePool) release(c *Server, s *source, f *feed, linger time.Duration) {
	time.AfterFunc(max(linger, 0), func() { p.releaseNow(c, s, f) })
}

// releaseNow is release without linger. If it drops the last reference, it waits until the upstream is closed.
func (p *sourcePool) releaseNow(c *Server, s *source, f *feed) {
	if f != nil {
		s.leave(f)
	}
	p.close(s, func() bool { p.letGo(c, s); return s.refs == 0 && !p.postpone(s) })
}

// postpone reports whether a source without holders must stay open, because other processes need its upstream. It then checks again
// soon. The pool is locked.
func (p *sourcePool) postpone(s *source) bool {
	if s.closing || !s.isNeeded() {
		return false
	}
	time.AfterFunc(time.Second, func() {
		p.close(s, func() bool { return s.refs == 0 && !p.postpone(s) })
	})
	return true
}

// end records that a source's upstream has ended. The source is kept for clients that reconnect. Other clients open a new one, unless
// the upstream has ended for good.
func (p *sourcePool) end(c *Server, s *source, forGood bool, keep time.Duration, place store.Pos) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endLocked(s)
	s.forGood, s.place = forGood, place
	switch {
	case s.closing, forGood && c.Upstream.Shared:
		return // an always shared source is kept while a config holds it
	case keep <= 0, c.Upstream.Shared:
		p.forgetLocked(s)
		return
	}
	p.hold(c, s)
	s.forget = time.AfterFunc(keep, func() {
		p.forget(s)
		s.trimEnded()
		p.releaseNow(c, s, nil)
	})
	p.dropOldest(c, s.key)
}

func (p *sourcePool) endLocked(s *source) {
	if !s.ended {
		s.ended = true
		for holder := range s.holders {
			holder.sources--
		}
	}
}

// MaxKept is the most sources that are kept for one key. Each of them has a history.
const MaxKept = 4

// dropOldest drops the oldest kept source if there are too many. The pool is locked.
func (p *sourcePool) dropOldest(c *Server, key string) {
	kept := 0
	var oldest *source
	for s := range p.all {
		if s.forget == nil || s.holders[c] == 0 {
			continue
		}
		if kept++; oldest == nil || s.since.Before(oldest.since) {
			oldest = s
		}
	}
	if list := p.byKey[key]; len(list) > MaxKept {
		oldest = list[0]
	} else if kept <= c.MaxSources {
		return
	}
	timer := oldest.forget
	p.forgetLocked(oldest)
	if oldest.forget = nil; timer.Stop() {
		timer.Reset(0)
	}
}

// forget removes a source from its key, so that the next request with the key opens a new one.
func (p *sourcePool) forget(s *source) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.forget = nil
	p.forgetLocked(s)
}

// endNow ends a source without keeping it.
func (p *sourcePool) endNow(s *source, place store.Pos) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.place = place
	p.endLocked(s)
	p.forgetLocked(s)
}

func (p *sourcePool) forgetLocked(s *source) {
	list := slices.DeleteFunc(p.byKey[s.key], func(other *source) bool { return other == s })
	if len(list) == 0 {
		delete(p.byKey, s.key)
		return
	}
	p.byKey[s.key] = list
}

// close ends the source if unused returns true, and waits until its upstream is closed. Only the first call does so.
func (p *sourcePool) close(s *source, unused func() bool) {
	p.mu.Lock()
	mine := unused() && !s.closing
	if mine {
		p.endLocked(s)
		p.forgetLocked(s)
		s.closing = true
		if s.forget != nil {
			s.forget.Stop()
		}
	}
	p.mu.Unlock()
	if !mine {
		return
	}
	s.cancel()
	<-s.done
	s.config().report.Meters.SourcesActive.Dec()
	p.mu.Lock()
	delete(p.all, s)
	p.mu.Unlock()
}

// closeAll ends all sources. It also waits for sources that are closing already.
func (p *sourcePool) closeAll() {
	list := p.list()
	for _, s := range list {
		s.cancel() // so that they close at the same time
	}
	for _, s := range list {
		p.close(s, func() bool { return true })
		<-s.done
	}
}

func init() {
	metrics.MeasureOnDemand("source_up", "Whether the upstream of each source that streams share is there: 0 if one is not.", sources.up)
}

// up returns a value for each name of a handler: 1 if the upstreams of all its sources are connected, and 0 otherwise. Sources that have
// ended do not count.
func (p *sourcePool) up() map[string]float64 {
	byName := make(map[string]float64)
	for _, s := range p.list() {
		s.mu.Lock()
		name, state, elsewhere := s.server.report.Name, s.state, s.store != nil && s.publisher == nil
		s.mu.Unlock()
		switch _, known := byName[name]; {
		case state == isFinished, elsewhere: // another process knows, if any does
		case state != IsLive:
			byName[name] = 0
		case !known:
			byName[name] = 1
		}
	}
	return byName
}

// holders returns the servers that hold a source.
func (p *sourcePool) holders(s *source) []*Server {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(s.holding.holders))
}

func (p *sourcePool) list() []*source {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*source, 0, len(p.all))
	for s := range p.all {
		list = append(list, s)
	}
	return list
}
