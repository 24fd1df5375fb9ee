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
	// noLimit stands for "no timeout" where Caddy's idle timeouts know no such value.
	noLimit = 100 * 365 * 24 * time.Hour

	// LastWrite bounds what is written to a client when its stream is ended from our side: a stop must not
	// wait for a client that does not read.
	LastWrite = time.Second
	lastLooks = 10 // how often it is looked at meanwhile

	// lastBytes bounds what the server sends by itself after that. On HTTP/2 it is the time after which a stream is
	// reset, even if the server is late. A machine that has too much to do must not make it look like a failure.
	lastBytes = 10 * time.Second
)

// deadlines are those of a stream's writes.
type deadlines struct {
	done     func()         // of a deadline writer of our own; nil without one
	held     time.Time      // the server's write deadline, for as long as it is not known whether it is to hold
	deadline *writeDeadline // once the server's own are lifted

	aborting   sync.Mutex // held while the deadline of a blocked write is set
	finished   bool       // nothing may be written, no deadline set any more
	unblocking atomic.Bool
}

// liftDeadlines frees this response from the server's write timeout and minimum rate. A client that takes
// nothing for the stall timeout still fails the write.
//
// Caddy's IdleTimeoutWriter sets a new deadline before each write, never later than its HardDeadline, which is
// the server's write timeout; a ResponseController cannot loosen it. So the field has to be cleared. It is not
// put back: on HTTP/2 the writer arms a deadline when the handler is done, and one that has passed would reset
// the stream before its end is sent. Read deadlines stay as they are: they do not end a response.
//
// All that the writer sets goes through a writeDeadline, which ignores it once the stream is over: a timeouts
// directive puts the server's settings back before the response's last bytes are out.
func (s *Stream) liftDeadlines() {
	s.held, s.inner = time.Time{}, innermostWriter(s.w)
	stall := s.group.StallTimeout
	if stall <= 0 {
		stall = noLimit
	}
	// What a net/http server has armed already, the write timeout of a server without idle timeouts among it.
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

// slowest is the speed, in bytes a second, of a client that is slow but not stalled.
const slowest = 1100

// writeChunk returns how many bytes may take all of the stall timeout. The writer renews its deadline after each such
// piece of a large write. With Caddy's own size, a short timeout would drop clients that read all the time.
func writeChunk(stall time.Duration) int {
	return int(min(max(stall.Seconds()*slowest, 1<<10), caddyhttp.DefaultMaxWriteChunk))
}

// holdDeadline keeps the server's write timeout from resetting a stream whose upstream takes longer for its headers: on
// HTTP/2 it is a timer, on the others it is looked at when something is written.
func (s *Stream) holdDeadline() {
	server, _ := s.Request.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if s.Request.ProtoMajor != 2 || server == nil || server.WriteTimeout <= 0 {
		return
	}
	s.held = s.started.Add(time.Duration(server.WriteTimeout))
	_ = http.NewResponseController(s.w).SetWriteDeadline(time.Time{})
}

// releaseDeadline puts the write timeout back, for a response that turns out not to be a stream.
func (s *Stream) releaseDeadline() {
	if !s.held.IsZero() {
		_ = http.NewResponseController(s.w).SetWriteDeadline(s.held)
		s.held = time.Time{}
	}
}

// WithOwnTimeouts gives the next handler idle timeouts of its own to override, as a timeouts directive does when it is
// asked and when it returns: those of the response are set while heartbeats are written. adopt makes what it has made
// of them the response's, for one that is not a stream.
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

// writeDeadline moves a write deadline only once that makes a difference: to set it before each write and each flush, as
// IdleTimeoutWriter does, costs an event that is sent to many clients a tenth of its time. So a client may be dropped
// up to slack before its time.
type writeDeadline struct {
	http.ResponseWriter // none: a ResponseController asks for nothing but the deadline

	controller *http.ResponseController
	slack      time.Duration
	set        time.Time
	final      bool // it is that of the last bytes, and moves no more
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

// boundLastWrites sets the deadline for what is left to be sent, net/http's own last bytes included. On HTTP/1
// the deadline of the write before may have passed meanwhile, and would cut them off.
func (s *Stream) boundLastWrites() {
	bound := lastBytes
	switch s.EndReason() {
	case EndUpstreamEnd, EndUpstreamError, EndRecordTooLarge:
		bound = s.group.StallTimeout
	}
	var deadline time.Time // none
	if bound > 0 {
		deadline = time.Now().Add(bound)
	}
	_ = http.NewResponseController(s.w).SetWriteDeadline(deadline)
	s.deadline.final = true
}

// unblockWrites fails the write that is in progress, and each one after it that takes longer than lastWrite: a
// stream that is to end must not wait for a client that does not read.
//
// The deadline is set on the server's own writer, as only that may be done while another goroutine writes. It is
// set again and again, because the writers around it may be about to set theirs.
func (s *Stream) unblockWrites() {
	if !s.open.Load() || s.unblocking.Swap(true) {
		return
	}
	controller := http.NewResponseController(s.inner)
	ended := s.clock()

	// It is the looks that are counted: where the machine has too much to do, they come late as the writes do, and no
	// client is to blame.
	var looked int64
	var looks int
	var check func()
	check = func() {
		s.aborting.Lock()
		defer s.aborting.Unlock()
		if s.finished {
			return
		}
		began := s.writing.Load()
		if began != looked {
			looked, looks = began, 0
		}
		looks++
		if began != 0 && (looks >= lastLooks || began <= ended && looks >= lastLooks/2) {
			_ = controller.SetWriteDeadline(time.Unix(1, 0))
		}
		time.AfterFunc(LastWrite/lastLooks, check)
	}
	time.AfterFunc(LastWrite/lastLooks, check)
}

// flusher finds the method that flushes the response, once. http.ResponseController would look for it at each flush.
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

// warnIfBuffered tells of a handler that holds the response back, as templates and intercept do around sse. It is known
// once the headers are written.
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
