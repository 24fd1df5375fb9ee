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

// Finish ends the stream after its upstream has ended with err: it sends the last frame, if the client is there to
// take it, and lets go of everything. It returns the handler's error, which makes the response if there is none yet. The
// handler calls finish or close before it returns.
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

// Release gives back a response that is not a stream.
func (s *Stream) Release() {
	openStreams.remove(s)
	s.releaseDeadline()
}

// Close lets go of everything, if nothing is to be sent any more.
func (s *Stream) Close() { s.closeAfter(nil, 0) }

// lastFrame says why the stream ends, if nobody has before, after its upstream has ended with err. It returns what is to
// be sent last, and how many events that is.
func (s *Stream) lastFrame(err error) (tail []byte, events int) {
	if err != nil && s.Request.Context().Err() != nil {
		s.End(EndClientGone) // its watch may not have come to it yet
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
		if s.Behind == nil { // a source that many share has said it, once
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
		return s.group.Error.AppendTo(nil, said), 0
	}
	last := s.group.EndFrame
	if last == nil {
		return nil, 0
	}
	return last[:len(last):len(last)], 1
}

// refusal makes the response of a stream whose upstream has ended with err before there was one.
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
		return caddyhttp.Error(http.StatusServiceUnavailable, failure.Plain(err)) // whichever status it had
	case s.Ended():
		return caddyhttp.Error(499, failure.Plain(err)) // as reverse_proxy has it; nobody is there to read it
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

// End makes the stream end for that reason, unless it ends already: then it returns false. It does not wait for it.
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

// Ended reports whether the stream is to end, or has ended.
func (s *Stream) Ended() bool { return s.reason.Load() != nil }

// EndReason is why the stream ended, empty as long as it has not.
func (s *Stream) EndReason() string {
	if r := s.reason.Load(); r != nil {
		return *r
	}
	return ""
}

// clientListens reports whether there is a point in writing to the client once the stream has ended.
func (s *Stream) clientListens() bool {
	reason := s.EndReason()
	return reason != EndClientGone && reason != EndClientStalled
}

// broken reports whether the client is to see that more was to come.
func (s *Stream) broken() bool {
	switch s.EndReason() {
	case EndUpstreamError, EndRecordTooLarge:
		return true
	case EndClientGone, EndClientStalled:
		return true // it may still be reading: it may have closed its own side only, or be late with the request's body
	case EndShutdown, EndMaxDuration, EndLag, EndAdmin, EndExpired, EndUnauthorized:
		return s.cut || !s.repeats()
	default:
		return s.cut
	}
}

// closeAfter sends the last frame, if the client is there to take it, and lets go of everything.
func (s *Stream) closeAfter(tail []byte, events int) {
	if s.stopWatch != nil {
		s.stopWatch()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open.Load() {
		s.boundLastWrites()
		if s.EndReason() == EndShutdown && s.repeats() {
			tail = append(eventstream.AppendRetry(tail, s.group.comeBackAfter()), '\n') // SDKs that need a blank line get the field
		}
		if len(tail) > 0 && !s.raw && s.clientListens() {
			_ = s.send(tail, events, s.flush) // if it fails there is nothing more to do
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

// report says once, everywhere, how the stream went.
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
