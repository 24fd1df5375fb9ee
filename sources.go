package sse

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/routeid"
)

// sources are those of this process, by key; each is held by the streams that share it.
var sources sourcePool

// sourcePool finds sources. Its lock is held only to look and to count: what may take longer, such as a source's own
// lock, is taken after it.
type sourcePool struct {
	mu    sync.Mutex
	byKey map[string]*source
	all   map[*source]struct{}
}

// acquire finds the source with that key, or opens it. Whoever acquires it has to release it.
func (p *sourcePool) acquire(h *Handler, upstream Upstream, shareKey string) (s *source, opened bool) {
	s, opened = p.find(h, upstream, h.sourceKey(upstream, shareKey))
	if !opened {
		s.adopt(h, upstream)
	}
	return s, opened
}

func (p *sourcePool) find(h *Handler, upstream Upstream, key string) (s *source, opened bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.byKey[key]; ok {
		s.refs++
		return s, false
	}
	if p.byKey == nil {
		p.byKey, p.all = make(map[string]*source), make(map[*source]struct{})
	}
	s = newSource(h, key, upstream)
	s.refs = 1
	p.byKey[key], p.all[s] = s, struct{}{}
	h.meters.sourcesActive.Inc()
	go s.run()
	return s, true
}

// sourceKey tells sources apart: by the upstream or by the config's own key, by what makes records of bytes, and by
// whether a clean end of the upstream is the source's. An upstream that there is just one of ends for all alike.
//
// Next handlers cannot be told apart by what they are. Two routes may ask different ones for the same key, be it the
// user's or, where matchers decide, that of host and URI; so the handler's route is part of it. So is all that the
// source's own request takes from a client's, even if the key is the user's: vars, that is.
func (h *Handler) sourceKey(upstream Upstream, shareKey string) string {
	identity := Key("upstream", upstream.Key())
	if shareKey != "" && !alwaysShared(h.backend) {
		identity = Key("share", h.backendName(), h.backendConfig, shareKey)
	}
	if next, ok := upstream.(*nextUpstream); ok {
		identity = Key("next", h.route.Digest, keyOfSettings(next.vars), identity)
	}
	ends := h.End != nil && !alwaysShared(h.backend)
	return Key(identity, h.Format, h.Charset, strconv.FormatInt(h.MaxRecordSize, 10), h.Oversize, strconv.FormatBool(ends))
}

// findRoute finds out what tells the handler's next handler from others. If that is not known, another config's is
// another one.
func (h *Handler) findRoute(ctx caddy.Context) {
	var err error
	if h.route, err = routeid.Of(ctx); err == nil {
		return
	}
	h.route.Digest = Key("config", strconv.FormatUint(h.generation, 10))
	if h.unshared = errors.Is(err, routeid.ErrManyPlaces); h.unshared {
		h.logger.Warn("share has no effect: give each route that invokes the named route an sse of its own", zap.Error(err))
	} else {
		h.logger.Warn("sources of this route will not survive a reload, as it cannot be recognized", zap.Error(err))
	}
}

// release lets go of the source and of a stream's feed in it, nil if there is none, once linger has passed.
func (p *sourcePool) release(s *source, f *feed, linger time.Duration) {
	if linger > 0 {
		time.AfterFunc(linger, func() { p.release(s, f, 0) })
		return
	}
	if f != nil {
		s.leave(f)
	}
	p.close(s, func() bool { s.refs--; return s.refs == 0 })
}

// forget makes the next one who asks for the source's key open another.
func (p *sourcePool) forget(s *source) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgetLocked(s)
}

func (p *sourcePool) forgetLocked(s *source) {
	if p.byKey[s.key] == s {
		delete(p.byKey, s.key)
	}
}

// close ends the source, if it has not been yet and if unused says so, and waits until its upstream is let go.
func (p *sourcePool) close(s *source, unused func() bool) {
	p.mu.Lock()
	_, open := p.all[s]
	if open = open && unused(); open {
		p.forgetLocked(s)
		delete(p.all, s)
	}
	p.mu.Unlock()
	if open {
		s.cancel()
		<-s.done
		s.config().meters.sourcesActive.Dec()
	}
}

// closeAll ends every source, so that a process that exits leaves nothing behind.
func (p *sourcePool) closeAll() {
	list := p.list()
	for _, s := range list {
		s.cancel() // they may all take their time, but at once
	}
	for _, s := range list {
		p.close(s, func() bool { return true })
	}
}

// up is, by the name of their sse, 1 if the upstreams of all sources are there, else 0. A source that is over has none.
func (p *sourcePool) up() map[string]float64 {
	byName := make(map[string]float64)
	for _, s := range p.list() {
		s.mu.Lock()
		name, state := s.handler.Name, s.state
		s.mu.Unlock()
		switch _, known := byName[name]; {
		case state == isFinished:
		case state != isLive:
			byName[name] = 0
		case !known:
			byName[name] = 1
		}
	}
	return byName
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
