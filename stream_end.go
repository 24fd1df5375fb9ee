package sse

import (
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// conclude says why the stream ends, if nobody has before, after its upstream has ended with err. It returns what
// is to be sent last, and how many events that is.
func (s *stream) conclude(err error) (tail []byte, events int) {
	if err != nil && s.request.Context().Err() != nil {
		s.end(endClientGone) // its watch may not have come to it yet
	}
	reason := endUpstreamEnd
	switch {
	case endedCleanly(err):
	case errors.Is(err, errRecordTooLarge):
		reason = endRecordTooLarge
	default:
		reason = endUpstreamError
	}
	if !s.reason.CompareAndSwap(nil, &reason) {
		return nil, 0 // the upstream ended because the stream did
	}
	h := s.handler
	if reason != endUpstreamEnd {
		if s.behind == nil { // a source that many share has said it, once
			s.warnUpstream(err)
		}
		said := reason
		if errors.Is(err, errRecordInvalid) {
			said = "invalid_record"
		}
		return frame.AppendError(nil, said), 0
	}
	if h.endFrame == nil {
		return nil, 0
	}
	return h.endFrame[:len(h.endFrame):len(h.endFrame)], 1
}

// end makes the stream end for that reason, unless it ends already: then it returns false. It does not wait for it.
func (s *stream) end(reason string) bool {
	if reason == endClientGone && s.stalled() {
		reason = endClientStalled
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

func (s *stream) ended() bool { return s.reason.Load() != nil }

// endReason is why the stream ended, empty as long as it has not.
func (s *stream) endReason() string {
	if r := s.reason.Load(); r != nil {
		return *r
	}
	return ""
}

// clientListens tells whether there is a point in writing to the client once the stream has ended.
func (s *stream) clientListens() bool {
	reason := s.endReason()
	return reason != endClientGone && reason != endClientStalled
}

// broken tells whether the client is to see that more was to come.
func (s *stream) broken() bool {
	switch s.endReason() {
	case endUpstreamError, endRecordTooLarge:
		return true
	case endShutdown, endMaxDuration, endLag, endAdmin:
		return s.cut || !s.repeats()
	default:
		return s.cut
	}
}

// finish sends what is to come last, if the client is there to take it, and lets go of everything. The handler
// calls it before it returns.
func (s *stream) finish(tail []byte, events int) {
	if s.stopWatch != nil {
		s.stopWatch()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open.Load() {
		s.boundLastWrites()
		if s.endReason() == endShutdown && s.repeats() {
			tail = append(eventstream.AppendRetry(tail, s.handler.comeBackAfter()), '\n') // SDKs that need a blank line get the field
		}
		if len(tail) > 0 && !s.raw && s.clientListens() {
			_ = s.send(tail, events, s.flush) // if it fails there is nothing more to do
		}
		if s.broken() {
			s.breakOff()
		}
		for _, timer := range []*time.Timer{s.heartbeat, s.lifetime, s.flushLater} {
			if timer != nil {
				timer.Stop()
			}
		}
	} else {
		s.releaseDeadline()
	}
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
func (s *stream) report() {
	reason, lasted := s.endReason(), time.Since(s.started)
	meters := s.handler.meters
	meters.StreamsActive.Dec()
	meters.StreamsEnded[reason].Inc()
	meters.StreamDuration.Observe(lasted.Seconds())
	if repl, ok := s.request.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Set("http.sse.events", s.events.Load())
		repl.Set("http.sse.bytes", s.bytes.Load())
		repl.Set("http.sse.end_reason", reason)
	}
	if c := s.handler.logger.Check(zapcore.DebugLevel, "stream ended"); c != nil {
		c.Write(zap.String("end_reason", reason), zap.Int64("events", s.events.Load()),
			zap.Int64("bytes", s.bytes.Load()), zap.Duration("duration", lasted),
			zap.String("backend", s.handler.backendName()), zap.String("client_ip", s.clientIP), zap.String("uri", s.uri()))
	}
}
