package sse

import (
	"context"
	"errors"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/eventstream"
)

// Why a stream ended: the values of {http.sse.end_reason} and of the metric's label.
const (
	endUpstreamEnd    = "upstream_end"
	endUpstreamError  = "upstream_error"
	endClientGone     = "client_gone"
	endClientStalled  = "client_stalled"
	endMaxDuration    = "max_duration"
	endLag            = "lag"
	endShutdown       = "shutdown"
	endRecordTooLarge = "record_too_large"
	endAdmin          = "admin"
)

var endReasons = []string{
	endUpstreamEnd, endUpstreamError, endClientGone, endClientStalled, endMaxDuration, endLag, endShutdown,
	endRecordTooLarge, endAdmin,
}

// errStreamEnded is what writers to a stream get once it is to end.
var errStreamEnded = errors.New("stream has ended")

// stream is one client's event stream, and the only place that writes to that client.
type stream struct {
	group    *streamGroup
	request  *http.Request
	clientIP string
	id       uint64     // in openStreams
	cancel   func()     // ends the upstream, or wakes the delivery from a shared one
	behind   func() int // events not yet taken from a shared source; nil without one

	reason atomic.Pointer[string]
	open   atomic.Bool // the headers of an event stream are out
	headed bool        // so are those for HEAD, which has no more

	response
	progress
	lifetime
	passing
}

// response is what a stream is written to.
type response struct {
	mu    sync.Mutex // held while writing
	w     http.ResponseWriter
	inner http.ResponseWriter // the server's own, below those of all handlers
	flush func() error
	cut   bool // a write has failed: what came before ends anywhere, so nothing may follow

	unflushed  bool // a flush is due after a large write
	flushLater *time.Timer

	deadlines
}

// progress is how far a stream has come.
type progress struct {
	started  time.Time
	lastByte atomic.Int64 // when the client was last written to, by clock
	writing  atomic.Int64 // when the write in progress began, by clock, or 0
	events   atomic.Int64
	bytes    atomic.Int64
}

// lifetime is what keeps a stream alive, and what ends it.
type lifetime struct {
	heartbeat, longest *time.Timer
	stopWatch          func() bool
	draining           atomic.Bool // it ends within its group's drain
	stopping           atomic.Bool // and within that of a stop
}

// passing is for a stream that was one already, and passes through.
type passing struct {
	raw    bool          // nothing may be put in
	passed *passedEvents // but for heartbeats between its events
}

// newStream makes the stream of a request. cancel is called once, by whoever ends the stream first.
func (g *streamGroup) newStream(w http.ResponseWriter, r *http.Request, cancel func()) *stream {
	s := &stream{group: g, request: r, cancel: cancel}
	s.w, s.started = w, time.Now()
	s.clientIP, _ = caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	openStreams.add(s)
	s.holdDeadline()
	if g.draining.Load() { // nobody will tell it, and its upstream may not answer for ever
		if caddy.Exiting() {
			s.drain(time.Duration(g.grace.Load()))
		} else {
			watchExit()
		}
	}
	return s
}

// watchClient ends the stream when its client leaves.
func (s *stream) watchClient() {
	s.stopWatch = context.AfterFunc(s.request.Context(), func() { s.end(endClientGone) })
}

// start sends the headers, what is configured to come first, and block; from now on the client is kept alive.
func (s *stream) start(block []byte) error {
	header := s.w.Header()
	setStreamHeaders(header)
	s.liftDeadlines()
	s.w.WriteHeader(http.StatusOK)
	s.warnIfBuffered()
	if s.request.Method == http.MethodHead {
		s.headed = true
		return s.flush() // or else HTTP/3 says that the stream has no byte
	}

	s.register()
	opening := make([]byte, 0, 64)
	if s.group.retry > 0 {
		opening = eventstream.AppendRetry(opening, s.group.retry)
	}
	opening = append(append(opening, eventstream.Comment...), block...)
	err := s.write(opening, 0)
	s.startHeartbeat()
	return err
}

func (s *stream) startHeartbeat() {
	if interval := s.group.heartbeat; interval > 0 {
		s.heartbeat = time.AfterFunc(noLimit, s.beat)
		s.heartbeat.Reset(interval)
	}
}

// passThrough registers a stream that is one already: its headers go out as they are, without the deadlines.
func (s *stream) passThrough(status int) {
	s.raw = true
	s.liftDeadlines()
	s.w.WriteHeader(status)
	s.warnIfBuffered()
	s.register()
}

// forward sends what an upstream says in an event stream of its own; it flushes when the upstream does.
func (s *stream) forward(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended() {
		return errStreamEnded
	}
	if s.passed != nil {
		p = s.passed.take(p)
	}
	return s.send(p, 0, func() error { return nil })
}

// flushForwarded flushes what was forwarded.
func (s *stream) flushForwarded() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended() {
		return errStreamEnded
	}
	return s.send(nil, 0, s.flush)
}

// register makes the stream known to the process and starts the clock of its life.
func (s *stream) register() {
	s.lastByte.Store(s.clock())
	s.open.Store(true)
	s.group.report.Meters.StreamsActive.Inc()
	if limit := s.group.maxDuration; limit > 0 {
		limit -= jitter(s.group.maxDurationJitter)
		s.longest = time.AfterFunc(limit, func() { s.end(endMaxDuration) })
	}
	if s.group.draining.Load() {
		s.drain(time.Duration(s.group.grace.Load())) // came in while the listeners were closing
	}
}

// write sends p, which holds that many events, and flushes. An error means that the stream is over.
func (s *stream) write(p []byte, events int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended() {
		return errStreamEnded
	}
	if len(p) >= largeWrite {
		return s.send(p, events, s.flushSoon)
	}
	s.unflushed = false
	return s.send(p, events, s.flush)
}

// A write this large fills the server's own buffers, so that nearly all of it is on its way to the client without a
// flush. What may be left follows after flushDelay at the latest. At full speed that makes one flush a millisecond
// instead of one for each read of the upstream, and a flush costs as much as a fifth of everything else.
const (
	largeWrite = 8 << 10
	flushDelay = time.Millisecond
)

// flushSoon is a flush after a large write.
func (s *stream) flushSoon() error {
	if s.unflushed {
		return nil
	}
	s.unflushed = true
	if s.flushLater == nil {
		s.flushLater = time.AfterFunc(flushDelay, s.flushLeft)
	} else {
		s.flushLater.Reset(flushDelay)
	}
	return nil
}

func (s *stream) flushLeft() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unflushed && !s.ended() {
		s.unflushed = false
		_ = s.send(nil, 0, s.flush) // its failure ends the stream
	}
}

// send is write for who holds the lock.
func (s *stream) send(p []byte, events int, flush func() error) error {
	if s.cut {
		return errStreamEnded
	}
	start := s.clock()
	s.writing.Store(start)
	var err error
	if len(p) > 0 {
		var n int
		n, err = s.w.Write(p)
		s.bytes.Add(int64(n))
	}
	if err == nil {
		err = flush()
	}
	if err != nil {
		s.cut = true
		s.end(s.writeFailure(err))
		s.writing.Store(0)
		return err
	}
	s.writing.Store(0)
	s.lastByte.Store(start)
	s.events.Add(int64(events))
	return nil
}

// writeFailure tells a client that has gone from one that takes nothing. HTTP/2 resets the stream when its
// deadline passes, which looks as if the client had: only the time the write took tells.
func (s *stream) writeFailure(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) || s.stalled() {
		return endClientStalled
	}
	return endClientGone
}

func (s *stream) stalled() bool {
	limit := s.group.stallTimeout
	return limit > 0 && s.writingFor() >= limit*8/10
}

// clock is the time since the stream has been there, in nanoseconds, which no change of the system's clock moves.
func (s *stream) clock() int64 { return int64(time.Since(s.started)) }

// writingFor is how long the write in progress has taken, 0 if there is none.
func (s *stream) writingFor() time.Duration {
	if began := s.writing.Load(); began != 0 {
		return time.Duration(s.clock() - began)
	}
	return 0
}

// beat sends a comment if the client has heard nothing for the time of a heartbeat.
func (s *stream) beat() {
	interval := s.group.heartbeat
	quiet := time.Duration(s.clock() - s.lastByte.Load())
	// A write in progress is a sign of life as good, and waiting for it would pile up goroutines.
	if !s.mu.TryLock() {
		quiet = 0
	} else {
		defer s.mu.Unlock()
		if s.ended() {
			return
		}
		switch {
		case quiet < interval:
		case s.passed != nil && !s.passed.between():
			quiet = 0 // a comment would be in an event of the upstream's
		default:
			if s.passed != nil {
				s.passed.led = true
			}
			if s.send([]byte(eventstream.Comment), 0, s.flush) != nil {
				return
			}
			quiet = 0
		}
	}
	s.heartbeat.Reset(interval - quiet)
}

// warnUpstream counts and logs that the stream's upstream has failed.
func (s *stream) warnUpstream(err error) {
	s.group.report.Failed(err, zap.String("uri", s.uri()))
}
