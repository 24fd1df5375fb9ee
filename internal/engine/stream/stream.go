package stream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go/http3"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/compress"
)

// Why a stream ended: the values of {http.sse.end_reason} and of the metric's label.
const (
	EndUpstreamEnd    = "upstream_end"
	EndUpstreamError  = "upstream_error"
	EndClientGone     = "client_gone"
	EndClientStalled  = "client_stalled"
	EndMaxDuration    = "max_duration"
	EndLag            = "lag"
	EndShutdown       = "shutdown"
	EndRecordTooLarge = "record_too_large"
	EndAdmin          = "admin"
	EndExpired        = "expired"
	EndUnauthorized   = "unauthorized"
	EndStopped        = "stopped"
)

// EndReasons is every reason why a stream may end.
var EndReasons = []string{
	EndUpstreamEnd, EndUpstreamError, EndClientGone, EndClientStalled, EndMaxDuration, EndLag, EndShutdown,
	EndRecordTooLarge, EndAdmin, EndExpired, EndUnauthorized, EndStopped,
}

// ErrEnded is the error of writes to a stream that is to end.
var ErrEnded = errors.New("stream has ended")

// ErrEndedByAdmin ends the upstream of a stream through the admin API.
var ErrEndedByAdmin = errors.New("ended through the admin API")

// ErrNobodyWantsMore ends a next handler whose response has ended. The stream says why. reverse_proxy takes it for the error
// of an HTTP/3 client that has left, the one that it does not warn of.
var ErrNobodyWantsMore = fmt.Errorf("%w: %w", ErrEnded, &http3.Error{Remote: true, ErrorCode: http3.ErrCodeRequestCanceled})

// Stream is one client's event stream, and the only place that writes to that client.
type Stream struct {
	group    *Group
	Request  *http.Request
	clientIP string
	id       uint64     // in openStreams
	Behind   func() int // events not yet taken from a shared source; nil without one

	open   atomic.Bool // the headers of an event stream are out
	headed bool        // so are those for HEAD, which has no more

	response
	progress
	lifetime
	passing
}

// response is the response that a stream is written to.
type response struct {
	mu    sync.Mutex // held while writing
	w     http.ResponseWriter
	inner http.ResponseWriter // the server's own, below those of all handlers
	flush func() error
	cut   bool // a write has failed: what came before ends anywhere, so nothing may follow

	encoder *compress.Encoder // nil: the client gets the text as it is

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

// lifetime keeps a stream alive, and ends it.
type lifetime struct {
	reason             atomic.Pointer[string] // why it has ended; nil before
	cancel             func()                 // ends the upstream, or wakes the delivery from a shared one
	heartbeat, longest *time.Timer
	keeper             *keeper // nil: no rights of the client end it
	stopWatch          func() bool
	draining           atomic.Bool // it ends within its group's drain
	stopping           atomic.Bool // and within that of a stop
	unanswered         atomic.Bool // its upstream has not answered, although it is open
}

// passing is for a stream that was one already, and passes through.
type passing struct {
	raw    bool          // nothing may be put in
	passed *passedEvents // but for heartbeats between its events
}

// New makes the stream of a request. cancel is called once, when the stream is to end.
func (g *Group) New(w http.ResponseWriter, r *http.Request, cancel func()) *Stream {
	s := &Stream{group: g, Request: r}
	s.w, s.started, s.cancel = w, time.Now(), cancel
	s.clientIP, _ = caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	openStreams.add(s)
	s.holdDeadline()
	if g.draining.Load() { // the drain has passed it by, and its upstream may not answer for ever
		if caddy.Exiting() {
			s.drain(time.Duration(g.grace.Load()))
		} else {
			watchExit()
		}
	}
	return s
}

// WatchClient ends the stream when its client leaves.
func (s *Stream) WatchClient() {
	s.stopWatch = context.AfterFunc(s.Request.Context(), func() { s.End(EndClientGone) })
}

// Start sends the headers, the configured opening, and block. From then on the client is kept alive.
func (s *Stream) Start(block []byte) error {
	s.encodeIn(s.group.SetHeaders(s.w.Header(), s.Request))
	s.liftDeadlines()
	s.w.WriteHeader(http.StatusOK)
	s.warnIfBuffered()
	if s.Request.Method == http.MethodHead {
		s.headed = true
		return s.flush() // or else HTTP/3 says that the stream has no byte
	}

	s.register()
	opening := make([]byte, 0, 64)
	if s.group.Retry > 0 {
		opening = eventstream.AppendRetry(opening, s.group.Retry)
	}
	opening = append(append(opening, eventstream.Comment...), block...)
	err := s.Write(opening, 0)
	s.startHeartbeat()
	return err
}

func (s *Stream) startHeartbeat() {
	if interval := s.group.Heartbeat; interval > 0 {
		s.heartbeat = time.AfterFunc(noLimit, s.beat)
		s.heartbeat.Reset(interval)
	}
}

// NotAnswered notes that the stream opens before its upstream has answered.
func (s *Stream) NotAnswered() { s.unanswered.Store(true) }

// Answered notes that the upstream has answered with records.
func (s *Stream) Answered() { s.unanswered.Store(false) }

// IsOpen reports whether the client has the headers of an event stream.
func (s *Stream) IsOpen() bool { return s.open.Load() }

// Header returns the headers of the response, before it begins.
func (s *Stream) Header() http.Header { return s.w.Header() }

// PassThrough registers a stream that is one already: its headers go out as they are, without the deadlines.
func (s *Stream) PassThrough(status int) {
	s.raw = true
	s.liftDeadlines()
	s.w.WriteHeader(status)
	s.warnIfBuffered()
	s.register()
}

// Forward sends bytes of an upstream's own event stream. They are flushed when the upstream flushes.
func (s *Stream) Forward(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Ended() {
		return ErrEnded
	}
	if s.passed != nil {
		p = s.passed.take(p)
	}
	return s.send(p, 0, func() error { return nil })
}

// FlushForwarded flushes forwarded bytes.
func (s *Stream) FlushForwarded() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Ended() {
		return ErrEnded
	}
	return s.send(nil, 0, s.flush)
}

// register makes the stream known to the process and starts the clock of its life.
func (s *Stream) register() {
	s.lastByte.Store(s.clock())
	s.open.Store(true)
	s.group.Report.Meters.StreamsActive.Inc()
	if limit := s.group.MaxDuration; limit > 0 {
		limit -= Jitter(s.group.MaxDurationJitter)
		s.longest = time.AfterFunc(limit, func() { s.End(EndMaxDuration) })
	}
	s.KeepRights()
	if s.group.draining.Load() {
		s.drain(time.Duration(s.group.grace.Load())) // came in while the listeners were closing
	}
}

// Write sends p, which holds that many events, and flushes. An error means that the stream is over.
func (s *Stream) Write(p []byte, events int) error {
	return s.WriteShared(nil, compress.Piece{Text: p}, events)
}

// WriteShared is Write for a piece of a text that other clients get too, so that it is compressed once for all of them.
func (s *Stream) WriteShared(shared *compress.Shared, p compress.Piece, events int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Ended() {
		return ErrEnded
	}
	if len(p.Text)-p.Start >= largeWrite {
		return s.encodeAndSend(shared, p, events, s.flushSoon)
	}
	s.unflushed = false
	return s.encodeAndSend(shared, p, events, s.flush)
}

// A write this large fills the server's own buffers, so that nearly all of it is on its way to the client without a
// flush. What may be left follows after flushDelay at the latest. At full speed that makes one flush a millisecond
// instead of one for each read of the upstream, and a flush costs as much as a fifth of everything else.
const (
	largeWrite = 8 << 10
	flushDelay = time.Millisecond
)

// flushSoon is a flush after a large write.
func (s *Stream) flushSoon() error {
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

func (s *Stream) flushLeft() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unflushed && !s.Ended() {
		s.unflushed = false
		_ = s.send(nil, 0, s.flush) // its failure ends the stream
	}
}

// send writes what only this client gets. The lock is held.
func (s *Stream) send(p []byte, events int, flush func() error) error {
	return s.encodeAndSend(nil, compress.Piece{Text: p}, events, flush)
}

// transmit writes p, which stands for that many bytes of text. The lock is held.
func (s *Stream) transmit(p []byte, size, events int, flush func() error) error {
	if s.cut {
		return ErrEnded
	}
	start := s.clock()
	s.writing.Store(start)
	var err error
	if len(p) > 0 {
		var n int
		n, err = s.w.Write(p)
		if err == nil {
			n = size
		}
		s.bytes.Add(int64(n))
	}
	if err == nil {
		err = flush()
	}
	if err != nil {
		s.cut = true
		s.End(s.writeFailure(err))
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
func (s *Stream) writeFailure(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) || s.stalled() {
		return EndClientStalled
	}
	return EndClientGone
}

func (s *Stream) stalled() bool {
	limit := s.group.StallTimeout
	return limit > 0 && s.WritingFor() >= limit*8/10
}

// clock is the time since the stream has been there, in nanoseconds, which no change of the system's clock moves.
func (s *Stream) clock() int64 { return int64(time.Since(s.started)) }

// WritingFor is how long the write in progress has taken, 0 if there is none.
func (s *Stream) WritingFor() time.Duration {
	if began := s.writing.Load(); began != 0 {
		return time.Duration(s.clock() - began)
	}
	return 0
}

// beat sends a heartbeat if the client has heard nothing for the time of a heartbeat.
func (s *Stream) beat() {
	interval := s.group.Heartbeat
	quiet := time.Duration(s.clock() - s.lastByte.Load())
	// A write in progress is a sign of life as good, and waiting for it would pile up goroutines.
	if !s.mu.TryLock() {
		quiet = 0
	} else {
		defer s.mu.Unlock()
		if s.Ended() {
			return
		}
		switch {
		case quiet < interval:
		case s.passed != nil && !s.passed.between():
			quiet = 0 // a heartbeat would be in an event of the upstream's
		default:
			if s.passed != nil {
				s.passed.led = true
			}
			if s.send(s.group.HeartbeatFrame, 0, s.flush) != nil {
				return
			}
			quiet = 0
		}
	}
	s.heartbeat.Reset(interval - quiet)
}

// WarnUpstream counts and logs that the stream's upstream has failed.
func (s *Stream) WarnUpstream(err error) {
	s.group.Report.Failed(err, zap.String("uri", s.URI()))
}
