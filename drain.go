package sse

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
)

// openStreams are the streams of this process, whichever config they were opened under.
var openStreams registry

type registry struct {
	mu      sync.Mutex
	streams map[uint64]*stream
	last    uint64
	ended   map[string]sent // what was sent to streams that have ended, by the name of their sse
}

func init() {
	metrics.CountOnDemand("events_total", "Number of events sent to clients.",
		func() map[string]float64 { return openStreams.sent(func(s sent) int64 { return s.events }) })
	metrics.CountOnDemand("bytes_total", "Number of bytes of event streams sent to clients, before compression.",
		func() map[string]float64 { return openStreams.sent(func(s sent) int64 { return s.bytes }) })
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
	h.grace.Store(int64(grace))
	h.draining.Store(true)
	ending := 0
	for _, s := range openStreams.all() {
		// A request whose response is yet to come may wait for its upstream for ever; a reload leaves it alone.
		if (exiting || s.handler == h && s.open.Load()) && s.drain(grace) {
			ending++
		}
	}
	if !exiting {
		watchExit()
	}
	if ending == 0 {
		return
	}
	h.logger.Info("ending streams", zap.Int("streams", ending), zap.Duration("drain", time.Duration(h.Drain)))
}

// watchExit drains the streams that have outlived their config when the process exits: nobody tells them, if the config
// of that time has no sse.
func watchExit() {
	if watchingExit.Swap(true) {
		return
	}
	const interval = 250 * time.Millisecond
	var check func()
	check = func() {
		watchingExit.Store(false)
		switch {
		case caddy.Exiting():
			for _, s := range openStreams.all() {
				s.drain(time.Duration(s.handler.grace.Load()))
			}
		case openStreams.outliveConfig() && !watchingExit.Swap(true):
			time.AfterFunc(interval, check)
		}
	}
	check()
}

var watchingExit atomic.Bool

// outliveConfig is whether there are streams whose config another has taken over.
func (reg *registry) outliveConfig() bool {
	reg.mu.Lock()
	defer reg.mu.Unlock()
	for _, s := range reg.streams {
		if s.handler.draining.Load() {
			return true
		}
	}
	return false
}

// stopDrain is the longest drain of a stop if the config says nothing. Systemd kills Caddy 5 s after it has asked it to
// stop, by the unit that comes with it. Until then the commands of backend exec have to end, too (exec.ExitTimeout), and
// Caddy looks only every half second whether all is done.
const stopDrain = 2 * time.Second

// drain makes the stream end within its handler's drain, and before Caddy cuts it off after its grace period: that goes
// for all streams when the process exits, and for those of HTTP/3 on a reload, too. It is false for one that ends
// already, or that a reload lets live on.
func (s *stream) drain(grace time.Duration) bool {
	h, exiting := s.handler, caddy.Exiting()
	if !exiting && (h.OnReload == onReloadKeep || h.OnReload == "" && !s.repeats()) {
		return false
	}
	if exiting && s.stopping.Swap(true) || s.draining.Swap(true) && !exiting {
		return false
	}
	window := time.Duration(h.Drain)
	if exiting && h.defaultDrain {
		window = min(window, stopDrain)
	}
	if grace > 0 && (exiting || s.request.ProtoMajor == 3) {
		window = min(window, grace/2) // Caddy looks only every half second whether all have ended
	}
	after := window * 9 / 10 // the last ones need time to be written, too
	if h.DrainMode == drainSpread || h.DrainMode == "" && s.repeats() {
		after = jitter(after)
	}
	time.AfterFunc(after, func() {
		s.end(endShutdown)
		s.unblockWrites() // of one that was about to end by itself, too
	})
	return true
}

// repeats is whether a client can be expected to ask again by itself, as EventSource does. A request of another method
// may have done something, such as asking a language model, so that its answer is not to be cut off lightly.
func (s *stream) repeats() bool {
	return s.request.Method == http.MethodGet || s.request.Method == http.MethodHead
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
