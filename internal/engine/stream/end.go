package stream

import (
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Finish ends the stream after its upstream has ended with err. It sends the last frame, if the client still listens, and releases
// everything. If there is no response yet, it returns the error that makes one. The handler calls Finish, Close or Release
// before it returns.
func (s *Stream) Finish(err error) error {
	if !s.open.Load() {
		s.Close()
		if s.headed {
			return nil
		}
		return s.refusal(err)
	}
	s.closeAfter(s.lastFrame(err))
	return nil
}

// Release releases a response that is not a stream after all.
func (s *Stream) Release() {
	openStreams.remove(s)
	s.releaseDeadline()
}

// Close releases everything without sending anything more from the upstream.
func (s *Stream) Close() { s.closeAfter(nil, 0) }

// lastFrame sets the reason for the end, if there is none yet, after the upstream has ended with err. It returns the last frame and the
// number of its events.
func (s *Stream) lastFrame(err error) (tail []byte, events int) {
	if err != nil && s.Request.Context().Err() != nil {
		s.End(EndClientGone) // WatchClient may be late
	}
	reason := EndUpstreamEnd
	switch {
	case upstream.EndedCleanly(err):
	case errors.Is(err, upstream.ErrStopped):
		reason = EndStopped
	case errors.Is(err, ErrEndedByAdmin):
		s.End(EndAdmin)
	case errors.Is(err, upstream.ErrRecordTooLarge):
		reason = EndRecordTooLarge
	default:
		reason = EndUpstreamError
	}
	if !s.reason.CompareAndSwap(nil, &reason) {
		return nil, 0 // the upstream ended because the stream did
	}
	if reason != EndUpstreamEnd && reason != EndStopped {
		if s.Behind == nil { // a shared source has logged it, once for all clients
			s.WarnUpstream(err)
		}
		said := frame.Failure{Reason: reason, Status: failure.Status(err)}
		if s.unanswered.Load() {
			said.Status, said.TellStatus = failure.AnswerStatus(err), true
		}
		var record *upstream.FailureRecord
		switch {
		case errors.As(err, &record):
			said.Record = record.Text
		case errors.Is(err, upstream.ErrRecordInvalid):
			said.Reason = "invalid_record"
		case errors.Is(err, upstream.ErrSilent):
			said.Reason = "upstream_timeout"
		}
		if said.TellStatus && s.IsReplaced(said.Status) {
			tail = s.group.appendComeBack(tail, s.wait)
		}
		return s.group.Error.AppendTo(tail, said), 0
	}
	last := s.group.EndFrame
	if last == nil {
		return nil, 0
	}
	return last[:len(last):len(last)], 1
}

// refusal returns the error for the response to a request whose upstream has ended with err before the response began.
func (s *Stream) refusal(err error) error {
	if err != nil && s.Request.Context().Err() != nil {
		s.End(EndClientGone)
	}
	if upstream.EndedCleanly(err) {
		if !s.Ended() {
			return nil
		}
		err = ErrEnded
	}
	switch {
	case s.EndReason() == EndShutdown:
		s.w.Header().Set("Retry-After", "1")
		return caddyhttp.Error(http.StatusServiceUnavailable, failure.Plain(err)) // whatever status err has
	case s.Ended():
		return caddyhttp.Error(499, failure.Plain(err)) // as reverse_proxy does; no client will read it
	}
	status := failure.Status(err)
	if status >= http.StatusBadGateway {
		s.WarnUpstream(err)
	}
	var handlerError caddyhttp.HandlerError
	if errors.As(err, &handlerError) {
		return err
	}
	return caddyhttp.Error(status, err)
}

// End makes the stream end for this reason. It returns false if the stream is ending already. It does not wait for the end.
func (s *Stream) End(reason string) bool {
	if reason == EndClientGone && s.stalled() {
		reason = EndClientStalled
	}
	if !s.reason.CompareAndSwap(nil, &reason) {
		return false
	}
	s.cancel()
	if s.clientListens() {
		s.unblockWrites()
	}
	return true
}

// Ended reports whether the stream is ending or has ended.
func (s *Stream) Ended() bool { return s.reason.Load() != nil }

// EndReason returns the reason for the stream's end, or "" if it is not ending.
func (s *Stream) EndReason() string {
	if r := s.reason.Load(); r != nil {
		return *r
	}
	return ""
}

// clientListens reports whether a client whose stream is ending may still read.
func (s *Stream) clientListens() bool {
	reason := s.EndReason()
	return reason != EndClientGone && reason != EndClientStalled
}

// broken reports whether the client must notice that the stream is incomplete.
func (s *Stream) broken() bool {
	switch s.EndReason() {
	case EndUpstreamError, EndRecordTooLarge:
		return true
	case EndClientGone, EndClientStalled:
		return true // it may still read, if it has closed only its own side, or is slow to send the request's body
	case EndShutdown, EndMaxDuration, EndLag, EndAdmin, EndExpired, EndUnauthorized:
		return s.cut || !s.repeats()
	default:
		return s.cut
	}
}

// closeAfter sends the last frame, if the client still listens, and releases everything.
func (s *Stream) closeAfter(tail []byte, events int) {
	if s.stopWatch != nil {
		s.stopWatch()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open.Load() {
		s.boundLastWrites()
		if s.EndReason() == EndShutdown && s.repeats() {
			tail = append(eventstream.AppendRetry(tail, s.group.reconnectAfter()), '\n') // some SDKs need the blank line to see the field
		}
		if len(tail) > 0 && !s.raw && s.clientListens() {
			_ = s.send(tail, events, s.flush) // after a failure, there is nothing more to do
		}
		if s.broken() {
			s.breakOff()
		} else {
			s.endCoding()
		}
		for _, timer := range []*time.Timer{s.heartbeat, s.longest, s.flushLater} {
			if timer != nil {
				timer.Stop()
			}
		}
	} else {
		s.releaseDeadline()
	}
	s.keeper.end()
	s.aborting.Lock()
	s.finished, s.unflushed = true, false
	s.aborting.Unlock()
	if s.done != nil {
		s.done()
	}
	openStreams.remove(s)
	if s.open.Load() {
		s.report()
	}
}

// report adds the ended stream to the metrics, the access log, the trace and the debug log.
func (s *Stream) report() {
	reason, lasted := s.EndReason(), time.Since(s.started)
	meters := s.group.Report.Meters
	meters.StreamsActive.Dec()
	meters.StreamsEnded[reason].Inc()
	meters.StreamDuration.Observe(lasted.Seconds())
	if repl, ok := s.Request.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Set("http.sse.events", s.events.Load())
		repl.Set("http.sse.bytes", s.bytes.Load())
		repl.Set("http.sse.end_reason", reason)
	}
	if span := trace.SpanFromContext(s.Request.Context()); span.IsRecording() {
		span.SetAttributes(attribute.Int64("sse.events", s.events.Load()), attribute.Int64("sse.bytes", s.bytes.Load()), attribute.String("sse.end_reason", reason))
	}
	if c := s.group.Report.Logger.Check(zapcore.DebugLevel, "stream ended"); c != nil {
		c.Write(zap.String("end_reason", reason), zap.Int64("events", s.events.Load()),
			zap.Int64("bytes", s.bytes.Load()), zap.Duration("duration", lasted),
			zap.String("backend", s.group.Report.Backend), zap.String("client_ip", s.clientIP), zap.String("uri", s.URI()))
	}
}
