package stream

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const (
	// noLimit stands for "no timeout". Caddy's idle timeouts have no value for that.
	noLimit = 100 * 365 * 24 * time.Hour

	// LastWrite is how long a write may take when the server ends the stream: a shutdown must not wait for a client that does
	// not read.
	LastWrite  = time.Second
	lastChecks = 10 // the number of checks in that time

	// lastBytes is how long the server may take for the bytes that it sends itself after the handler. On HTTP/2, it resets the
	// stream after that time, even if the machine is just too busy. That must not look like a failure.
	lastBytes = 10 * time.Second
)

// deadlines are the deadlines for a stream's writes.
type deadlines struct {
	done     func()         // ends a deadline writer of our own; nil without one
	held     time.Time      // the server's write deadline, removed until it is known whether the response is a stream
	deadline *writeDeadline // set after liftDeadlines

	aborting   sync.Mutex // held while the deadline of a blocked write is set
	finished   bool       // no more writes, and no more deadlines
	unblocking atomic.Bool
}

// liftDeadlines frees this response from the server's write timeout and minimum rate. A write still fails if the client takes
// nothing for the stall timeout.
//
// Caddy's IdleTimeoutWriter sets a new deadline before each write. The deadline is never later than its HardDeadline, which comes
// from the server's write timeout. A ResponseController cannot change that, so the field has to be cleared. It is not restored:
// on HTTP/2, the writer sets a deadline when the handler is done, and a deadline in the past would reset the stream before its
// end is sent. Read deadlines stay, because they do not end a response.
//
// The writer sets its deadlines through a writeDeadline, which ignores them once the stream is over. A timeouts directive would
// otherwise restore the server's settings before the last bytes of the response are sent.
func (s *Stream) liftDeadlines() {
	s.held, s.inner = time.Time{}, innermostWriter(s.w)
	stall := s.group.StallTimeout
	if stall <= 0 {
		stall = noLimit
	}
	// Remove the deadline that net/http has set, such as the write timeout of a server without idle timeouts.
	_ = http.NewResponseController(s.w).SetWriteDeadline(time.Time{})

	_, writer := caddyhttp.IdleTimeoutsFromContext(s.Request.Context())
	if writer != nil {
		writer.Deadline.HardDeadline = time.Time{}
		writer.Override(stall, 0, 0)
	} else {
		writer = &caddyhttp.IdleTimeoutWriter{
			ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: s.w},
			Ctrl:                  http.NewResponseController(s.w),
			Deadline:              caddyhttp.IdleDeadline{Start: time.Now(), Timeout: stall},
			ClearBetweenWrites:    s.Request.ProtoMajor == 2,
			Logger:                s.group.Report.Logger,
		}
		s.w, s.done = writer, writer.HandlerDone
	}
	writer.MaxChunk = writeChunk(stall)
	s.deadline = &writeDeadline{controller: writer.Ctrl}
	if !writer.ClearBetweenWrites {
		s.deadline.slack = stall / 8
	}
	writer.Ctrl = http.NewResponseController(s.deadline)
	s.flush = s.flusher()
}

// slowest is the lowest speed of a client that is not stalled, in bytes per second.
const slowest = 1100

// writeChunk returns the number of bytes for which a client may take the whole stall timeout. The writer renews its deadline after
// each such chunk of a large write. With Caddy's own chunk size, a short timeout would drop slow clients that read all the time.
func writeChunk(stall time.Duration) int {
	return int(min(max(stall.Seconds()*slowest, 1<<10), caddyhttp.DefaultMaxWriteChunk))
}

// holdDeadline removes the server's write timeout while the upstream has not answered. Only on HTTP/2 is that needed: there, the
// timeout is a timer that resets the stream. On HTTP/1 and 3, it matters only for a write.
func (s *Stream) holdDeadline() {
	server, _ := s.Request.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if s.Request.ProtoMajor != 2 || server == nil || server.WriteTimeout <= 0 {
		return
	}
	s.held = s.started.Add(time.Duration(server.WriteTimeout))
	_ = http.NewResponseController(s.w).SetWriteDeadline(time.Time{})
}

// releaseDeadline restores the write timeout for a response that is not a stream.
func (s *Stream) releaseDeadline() {
	if !s.held.IsZero() {
		_ = http.NewResponseController(s.w).SetWriteDeadline(s.held)
		s.held = time.Time{}
	}
}

// WithOwnTimeouts gives the next handler a copy of the idle timeouts. A timeouts directive changes them when it is called and when
// it returns, and must not change those of the response while heartbeats are written. adopt applies the changed copy to the
// response, if the response is not a stream.
func WithOwnTimeouts(ctx context.Context) (own context.Context, adopt func()) {
	reader, writer := caddyhttp.IdleTimeoutsFromContext(ctx)
	if writer == nil {
		return ctx, func() {}
	}
	overridden := *writer
	return caddyhttp.ContextWithIdleTimeouts(ctx, reader, &overridden), func() {
		writer.Deadline, writer.MaxChunk = overridden.Deadline, overridden.MaxChunk
	}
}

// writeDeadline moves a write deadline only if that makes a difference of at least slack. IdleTimeoutWriter sets the deadline before
// each write and each flush, which would take a tenth of the time for an event that is sent to many clients. So a client may be
// dropped up to slack too early.
type writeDeadline struct {
	http.ResponseWriter // nil: a ResponseController only calls SetWriteDeadline

	controller *http.ResponseController
	slack      time.Duration
	set        time.Time
	final      bool // it is the deadline for the last bytes, and does not change any more
}

func (d *writeDeadline) SetWriteDeadline(deadline time.Time) error {
	if later := deadline.Sub(d.set); d.final || !d.set.IsZero() && later >= 0 && later < d.slack {
		return nil
	}
	if err := d.controller.SetWriteDeadline(deadline); err != nil {
		return err
	}
	d.set = deadline
	return nil
}

// boundLastWrites sets the deadline for the remaining bytes, including those that net/http sends. On HTTP/1, the deadline of the
// last write may have passed meanwhile, and would cut them off.
func (s *Stream) boundLastWrites() {
	bound := lastBytes
	switch s.EndReason() {
	case EndUpstreamEnd, EndUpstreamError, EndRecordTooLarge:
		bound = s.group.StallTimeout
	}
	var deadline time.Time // no deadline
	if bound > 0 {
		deadline = time.Now().Add(bound)
	}
	_ = http.NewResponseController(s.w).SetWriteDeadline(deadline)
	s.deadline.final = true
}

// unblockWrites makes a write fail if it takes longer than LastWrite, or half of that if it is in progress already. A stream that
// ends must not wait for a client that does not read.
//
// The deadline is set on the server's own writer, because only that is allowed while another goroutine writes. It is set several
// times, because an outer writer may be about to set another one.
func (s *Stream) unblockWrites() {
	if !s.open.Load() || s.unblocking.Swap(true) {
		return
	}
	controller := http.NewResponseController(s.inner)
	ended := s.clock()

	// The checks are counted instead of the time: on a busy machine, they come late, as the writes do, and that is not the
	// client's fault.
	var checked int64
	var checks int
	var check func()
	check = func() {
		s.aborting.Lock()
		defer s.aborting.Unlock()
		if s.finished {
			return
		}
		began := s.writing.Load()
		if began != checked {
			checked, checks = began, 0
		}
		checks++
		if began != 0 && (checks >= lastChecks || began <= ended && checks >= lastChecks/2) {
			_ = controller.SetWriteDeadline(time.Unix(1, 0))
		}
		time.AfterFunc(LastWrite/lastChecks, check)
	}
	time.AfterFunc(LastWrite/lastChecks, check)
}

// flusher returns the method that flushes the response. http.ResponseController would search for it at each flush.
func (s *Stream) flusher() func() error {
	for w := s.w; ; {
		switch t := w.(type) {
		case interface{ FlushError() error }:
			return t.FlushError
		case http.Flusher:
			return func() error { t.Flush(); return nil }
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			s.group.Report.Logger.Error("response cannot be flushed, events will be late: a handler outside of sse wraps the response in a writer without Unwrap or FlushError",
				zap.String("writer", fmt.Sprintf("%T", t)))
			return func() error { return nil }
		}
	}
}

// warnIfBuffered logs an error if an outer handler buffers the response, as templates and intercept do. Call it after the headers
// are written.
func (s *Stream) warnIfBuffered() {
	for w := s.w; ; {
		if recorder, ok := w.(interface{ Buffered() bool }); ok && recorder.Buffered() {
			s.group.Report.Logger.Error("response is buffered, events will be late: a handler outside of sse, such as templates or intercept, waits for the whole response",
				zap.String("writer", fmt.Sprintf("%T", w)))
			return
		}
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return
		}
		w = wrapper.Unwrap()
	}
}
