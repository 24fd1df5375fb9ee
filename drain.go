package sse

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// openStreams are the streams of this process, whichever config they were opened under.
var openStreams registry

type registry struct {
	mu      sync.Mutex
	streams map[uint64]*stream
	last    uint64
	ended   map[string]sent // what was sent to streams that have ended, by the name of their sse
}

// sent is what was sent to clients.
type sent struct{ events, bytes int64 }

func (reg *registry) add(s *stream) {
	reg.mu.Lock()
	defer reg.mu.Unlock()
	if reg.streams == nil {
		reg.streams = make(map[uint64]*stream)
	}
	reg.last++
	s.id = reg.last
	reg.streams[s.id] = s
}

func (reg *registry) remove(s *stream) {
	reg.mu.Lock()
	defer reg.mu.Unlock()
	if reg.streams[s.id] == s {
		delete(reg.streams, s.id)
		reg.countLocked(s.handler.Name, sent{s.events.Load(), s.bytes.Load()})
	}
}

// count adds to what was sent to streams that have ended.
func (reg *registry) count(name string, more sent) {
	reg.mu.Lock()
	defer reg.mu.Unlock()
	reg.countLocked(name, more)
}

func (reg *registry) countLocked(name string, more sent) {
	if reg.ended == nil {
		reg.ended = make(map[string]sent)
	}
	total := reg.ended[name]
	reg.ended[name] = sent{total.events + more.events, total.bytes + more.bytes}
}

// sent is how much has been sent to all streams there have been, by name. It is added up when somebody asks: a counter
// for all, which every processor writes to for each event of each client, would cost more than the rest of the
// accounting.
func (reg *registry) sent(amount func(sent) int64) map[string]float64 {
	reg.mu.Lock()
	defer reg.mu.Unlock()
	byName := make(map[string]float64, len(reg.ended))
	for name, s := range reg.ended {
		byName[name] = float64(amount(s))
	}
	for _, s := range reg.streams {
		byName[s.handler.Name] += float64(amount(sent{s.events.Load(), s.bytes.Load()}))
	}
	return byName
}

func (reg *registry) get(id uint64) *stream {
	reg.mu.Lock()
	defer reg.mu.Unlock()
	return reg.streams[id]
}

// all is every stream, oldest first.
func (reg *registry) all() []*stream {
	reg.mu.Lock()
	streams := make([]*stream, 0, len(reg.streams))
	for _, s := range reg.streams {
		streams = append(streams, s)
	}
	reg.mu.Unlock()
	slices.SortFunc(streams, func(a, b *stream) int { return int(int64(a.id) - int64(b.id)) })
	return streams
}

// watchLifecycle asks to be told when the config starts and stops. An app's Stop would be too late: Caddy waits
// for all responses before, and a stream never ends by itself.
func (h *Handler) watchLifecycle(ctx caddy.Context) error {
	if ctx.Value(caddyhttp.ServerCtxKey) == nil {
		return nil // not part of a server: there is no lifecycle
	}
	app, err := ctx.App("events")
	if err != nil {
		return err
	}
	events := app.(*caddyevents.App)
	if err := events.On("started", &listener{h.onStarted}); err != nil {
		return err
	}
	return events.On("stopping", &listener{func() { h.onStopping(gracePeriod(ctx)) }})
}

// gracePeriod is the time after which Caddy cuts off responses that have not ended, 0 if it does not.
func gracePeriod(ctx caddy.Context) time.Duration {
	app, err := ctx.AppIfConfigured("http")
	if err != nil {
		return 0
	}
	return time.Duration(app.(*caddyhttp.App).GracePeriod)
}

// listener is a caddyevents.Handler. It is a struct since Caddy's log shows it as JSON.
type listener struct{ hear func() }

func (l *listener) Handle(context.Context, caddy.Event) error {
	l.hear()
	return nil
}

// onStarted opens the source of a backend that upstreams push to: it must be there before the first client is.
func (h *Handler) onStarted() {
	if backend, ok := h.backend.(AlwaysShared); ok {
		upstream := backend.Upstream()
		source, _, _ := sources.acquire(h, upstream, h.sourceKey(upstream, "")) // it has no limit
		h.standing = append(h.standing, source)
	}
}

// onStopping makes the streams of this config end: all of this process, if it is about to exit.
func (h *Handler) onStopping(grace time.Duration) {
	exiting := caddy.Exiting()
	if h.OnReload == onReloadKeep && !exiting {
		h.endWhenExiting()
		return
	}
	h.grace.Store(int64(grace))
	h.draining.Store(true)
	ending := 0
	for _, s := range openStreams.all() {
		// A request whose response is yet to come may wait for its upstream for ever; a reload leaves it alone.
		if (exiting || s.handler == h && s.open.Load()) && s.drain(grace) {
			ending++
		}
	}
	if ending == 0 {
		return
	}
	h.logger.Info("ending streams", zap.Int("streams", ending), zap.Duration("drain", time.Duration(h.Drain)))
}

// endWhenExiting ends streams that have outlived their config when the process exits: nobody tells them, if the
// config of that time has no sse.
func (h *Handler) endWhenExiting() {
	const interval = 250 * time.Millisecond
	var check func()
	check = func() {
		left := false
		for _, s := range openStreams.all() {
			if s.handler == h {
				left = true
				if caddy.Exiting() {
					s.drain(0)
				}
			}
		}
		if left {
			time.AfterFunc(interval, check)
		}
	}
	check()
}

// drain makes the stream end at a random time within its handler's drain, and before Caddy cuts it off after its grace
// period: that goes for all streams when the process exits, and for those of HTTP/3 on a reload, too.
func (s *stream) drain(grace time.Duration) bool {
	if s.draining.Swap(true) {
		return false
	}
	window := time.Duration(s.handler.Drain)
	if grace > 0 && (caddy.Exiting() || s.request.ProtoMajor == 3) {
		window = min(window, grace/2) // Caddy looks only every half second whether all have ended
	}
	// The last ones need time to be written, too.
	time.AfterFunc(jitter(window*9/10), func() {
		s.end(endShutdown)
		s.unblockWrites() // of one that was about to end by itself, too
	})
	return true
}

// comeBackAfter is the reconnection time of a client whose stream is drained, spread out so that not all come
// back together: the drain's length on top of what is configured, or of a second.
func (h *Handler) comeBackAfter() time.Duration {
	base := time.Duration(h.Retry)
	if base == 0 {
		base = time.Second
	}
	return base + jitter(time.Duration(h.Drain))
}

// jitter is a random duration from 0 to limit.
func jitter(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	return rand.N(limit)
}

var _ caddyevents.Handler = (*listener)(nil)
