package stream

import (
	"slices"
	"sync"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
)

// openStreams holds all streams in this process.
var openStreams registry

type registry struct {
	mu      sync.Mutex
	streams map[uint64]*Stream
	last    uint64
	ended   map[string]total // totals of streams that have ended, by the name of their sse handler
}

func init() {
	metrics.CountOnDemand("events_total", "Number of events sent to clients.",
		func() map[string]float64 { return openStreams.sent(func(t total) int64 { return t.events }) })
	metrics.CountOnDemand("bytes_total", "Number of bytes of event streams sent to clients, before compression.",
		SentBytes)
}

// total counts events and bytes that were sent to clients.
type total struct{ events, bytes int64 }

// SentBytes returns the number of bytes sent to clients, by the name of the sse handler.
func SentBytes() map[string]float64 {
	return openStreams.sent(func(t total) int64 { return t.bytes })
}

func (reg *registry) add(s *Stream) {
	reg.mu.Lock()
	defer reg.mu.Unlock()
	if reg.streams == nil {
		reg.streams = make(map[uint64]*Stream)
	}
	reg.last++
	s.id = reg.last
	reg.streams[s.id] = s
}

func (reg *registry) remove(s *Stream) {
	reg.mu.Lock()
	defer reg.mu.Unlock()
	if reg.streams[s.id] == s {
		delete(reg.streams, s.id)
		reg.countLocked(s.group.Report.Name, total{s.events.Load(), s.bytes.Load()})
	}
}

// count adds to the totals of streams that have ended.
func (reg *registry) count(name string, more total) {
	reg.mu.Lock()
	defer reg.mu.Unlock()
	reg.countLocked(name, more)
}

func (reg *registry) countLocked(name string, more total) {
	if reg.ended == nil {
		reg.ended = make(map[string]total)
	}
	before := reg.ended[name]
	reg.ended[name] = total{before.events + more.events, before.bytes + more.bytes}
}

// sent returns the totals for all streams ever, by name. It adds them up on demand: a single counter, which all processors would write
// to for each event and client, would cost more than all other metrics.
func (reg *registry) sent(amount func(total) int64) map[string]float64 {
	reg.mu.Lock()
	defer reg.mu.Unlock()
	byName := make(map[string]float64, len(reg.ended))
	for name, s := range reg.ended {
		byName[name] = float64(amount(s))
	}
	for _, s := range reg.streams {
		byName[s.group.Report.Name] += float64(amount(total{s.events.Load(), s.bytes.Load()}))
	}
	return byName
}

func (reg *registry) get(id uint64) *Stream {
	reg.mu.Lock()
	defer reg.mu.Unlock()
	return reg.streams[id]
}

// All returns all streams in this process, oldest first. It includes those whose response has not begun.
func All() []*Stream { return openStreams.all() }

// all returns every stream, oldest first.
func (reg *registry) all() []*Stream {
	reg.mu.Lock()
	streams := make([]*Stream, 0, len(reg.streams))
	for _, s := range reg.streams {
		streams = append(streams, s)
	}
	reg.mu.Unlock()
	slices.SortFunc(streams, func(a, b *Stream) int { return int(int64(a.id) - int64(b.id)) })
	return streams
}

// outliveConfig reports whether there are streams whose config has stopped.
func (reg *registry) outliveConfig() bool {
	reg.mu.Lock()
	defer reg.mu.Unlock()
	for _, s := range reg.streams {
		if s.group.draining.Load() {
			return true
		}
	}
	return false
}
