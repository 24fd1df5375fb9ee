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

// The reasons for the end of a stream: the values of {http.sse.end_reason} and of the label in the metrics.
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

// EndReasons are all reasons for the end of a stream.
var EndReasons = []string{
	EndUpstreamEnd, EndUpstreamError, EndClientGone, EndClientStalled, EndMaxDuration, EndLag, EndShutdown,
	EndRecordTooLarge, EndAdmin, EndExpired, EndUnauthorized, EndStopped,
}

// ErrEnded is returned by writes to a stream that is ending.
var ErrEnded = errors.New("stream has ended")

// ErrEndedByAdmin ends the upstream of a stream through the admin API.
var ErrEndedByAdmin = errors.New("ended through the admin API")

// ErrNobodyWantsMore stops a next handler whose response has ended. The stream's end reason says why. reverse_proxy takes this error
// for that of an HTTP/3 client that has left, the only one that it does not log as a warning.
var ErrNobodyWantsMore = fmt.Errorf("%w: %w", ErrEnded, &http3.Error{Remote: true, ErrorCode: http3.ErrCodeRequestCanceled})

// Stream is one client's event stream. Nothing else writes to the client.
type Stream struct {
	group    *Group
	Request  *http.Request
	clientIP string
	id       uint64     // in openStreams
	Behind   func() int // returns the number of events in a shared source that were not sent yet; nil without one

	open   atomic.Bool // the headers of an event stream were sent
	headed bool        // the headers for HEAD were sent, which is the whole response

	response
	progress
	lifetime
	passing
}

// response is the response that a stream is written to.
type response struct {
	mu    sync.Mutex // held for a write
	w     http.ResponseWriter
	inner http.ResponseWriter // the server's own writer
	flush func() error
	cut   bool // a write has failed: the bytes may end anywhere in an event, so nothing may follow

	encoder *compress.Encoder // nil: the client gets the text as it is

	unflushed  bool // a flush is due after a large write
	flushLater *time.Timer

	deadlines
}

// progress holds the times and counts of a stream.
type progress struct {
	started  time.Time
	lastByte atomic.Int64 // the time of the last write, by clock
	writing  atomic.Int64 // the start of the write in progress, by clock, or 0
	events   atomic.Int64
	bytes    atomic.Int64
}

// lifetime holds what keeps a stream alive, and what ends it.
type lifetime struct {
	reason             atomic.Pointer[string] // the reason for the end; nil before
	cancel             func()                 // ends the upstream, or wakes the delivery from a shared one
	heartbeat, longest *time.Timer
	keeper             *keeper // nil: it does not end with rights
	stopWatch          func() bool
	draining           atomic.Bool   // it will end within the drain
	stopping           atomic.Bool   // it will end within the drain of a shutdown
	unanswered         atomic.Bool   // it is open, but its upstream has not answered
	wait               time.Duration // the late answer's Retry-After
}

// passing is the state of a response that passes through.
type passing struct {
	raw    bool          // nothing may be added, except heartbeats if passed is set
	passed *passedEvents // finds the gaps between its events
}

// New returns the stream for a request. cancel is called once, when the stream is to end.
func (g *Group) New(w http.ResponseWriter, r *http.Request, cancel func()) *Stream {
	s := &Stream{group: g, Request: r}
	s.w, s.started, s.cancel = w, time.Now(), cancel
	s.clientIP, _ = caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	openStreams.add(s)
	s.holdDeadline()
	if g.draining.Load() { // Drain did not see it, and its upstream may never answer
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

// Start sends the headers, the configured retry, a comment, and block. From then on, the client gets heartbeats. For a HEAD request,
// it sends only the headers.
func (s *Stream) Start(block []byte) error {
	s.encodeIn(s.group.SetHeaders(s.w.Header(), s.Request))
	s.liftDeadlines()
	s.w.WriteHeader(http.StatusOK)
	s.warnIfBuffered()
	if s.Request.Method == http.MethodHead {
		s.headed = true
		return s.flush() // without it, an HTTP/3 response would have a Content-Length of 0
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

// NotAnswered records that the stream opens before its upstream has answered.
func (s *Stream) NotAnswered() { s.unanswered.Store(true) }

// Answered records that the upstream has answered with records.
func (s *Stream) Answered() { s.unanswered.Store(false) }

// AnsweredUnavailable notes the Retry-After header of an upstream that has answered, but with no records.
func (s *Stream) AnsweredUnavailable(wait string) { s.wait = retryAfter(wait) }

// IsOpen reports whether the headers of an event stream were sent.
func (s *Stream) IsOpen() bool { return s.open.Load() }

// Header returns the headers of the response. Change them only before it begins.
func (s *Stream) Header() http.Header { return s.w.Header() }

// PassThrough starts a response that passes through unchanged. It sends the headers as they are, and lifts the server's deadlines.
func (s *Stream) PassThrough(status int) {
	s.raw = true
	s.liftDeadlines()
	s.w.WriteHeader(status)
	s.warnIfBuffered()
	s.register()
}

// Forward sends bytes that pass through. FlushForwarded flushes them.
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

// register marks the stream as open, and starts its timers.
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
		s.drain(time.Duration(s.group.grace.Load())) // the request came while the listeners were closing
	}
}

// Write sends p and flushes. p must have whole frames. events is the number of events in p. An error means that the stream is
// over.
func (s *Stream) Write(p []byte, events int) error {
	return s.WriteShared(nil, compress.Piece{Text: p}, events)
}

// WriteShared is Write for a piece of a text for many clients. The piece is compressed once for all of them.
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

// A write of largeWrite fills the server's own buffers, so nearly all of it is sent without a flush. The rest is flushed after
// flushDelay at the latest. At full speed, that makes one flush per millisecond instead of one for each read from the upstream. A
// flush costs a fifth of everything else.
const (
	largeWrite = 8 << 10
	flushDelay = time.Millisecond
)

// flushSoon schedules a flush after a large write.
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

// send writes text for this client alone. The lock is held.
func (s *Stream) send(p []byte, events int, flush func() error) error {
	return s.encodeAndSend(nil, compress.Piece{Text: p}, events, flush)
}

// transmit writes p and flushes. size is the number of bytes before compression. The lock is held.
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

// writeFailure returns the end reason for a failed write: the client has left, or it takes nothing. On HTTP/2, a deadline resets the
// stream, which looks as if the client had done so. Only the duration of the write shows the difference.
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

// clock returns the time since the start of the stream, in nanoseconds. It does not depend on the system's clock.
func (s *Stream) clock() int64 { return int64(time.Since(s.started)) }

// WritingFor returns the duration of the write in progress, or 0 if there is none.
func (s *Stream) WritingFor() time.Duration {
	if began := s.writing.Load(); began != 0 {
		return time.Duration(s.clock() - began)
	}
	return 0
}

// beat sends a heartbeat if nothing was sent to the client for the heartbeat's interval.
func (s *Stream) beat() {
	interval := s.group.Heartbeat
	idle := time.Duration(s.clock() - s.lastByte.Load())
	// A write in progress serves the same purpose. Waiting for it would pile up goroutines.
	if !s.mu.TryLock() {
		idle = 0
	} else {
		defer s.mu.Unlock()
		if s.Ended() {
			return
		}
		switch {
		case idle < interval:
		case s.passed != nil && !s.passed.between():
			idle = 0 // a heartbeat would be in the middle of an event
		default:
			if s.passed != nil {
				s.passed.led = true
			}
			if s.send(s.group.HeartbeatFrame, 0, s.flush) != nil {
				return
			}
			idle = 0
		}
	}
	s.heartbeat.Reset(interval - idle)
}

// WarnUpstream counts and logs a failure of the stream's upstream.
func (s *Stream) WarnUpstream(err error) {
	s.group.Report.Failed(err, zap.String("uri", s.URI()))
}
