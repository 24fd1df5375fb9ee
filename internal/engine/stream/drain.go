package stream

import (
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
)

// Drain makes the streams in this group end. If the process is about to exit, it makes all streams in the process end. grace is the
// time after which Caddy cuts them off, or 0 if it does not.
func (g *Group) Drain(grace time.Duration) {
	exiting := caddy.Exiting()
	g.grace.Store(int64(grace))
	g.draining.Store(true)
	ending := 0
	for _, s := range openStreams.all() {
		// A reload does not end a request that still waits for its upstream, perhaps for ever.
		if (exiting || s.group == g && s.open.Load()) && s.drain(grace) {
			ending++
		}
	}
	if !exiting {
		watchExit()
	}
	if ending == 0 {
		return
	}
	g.Report.Logger.Info("ending streams", zap.Int("streams", ending), zap.Duration("drain", g.DrainTime))
}

// watchExit drains the streams that outlive their config when the process exits. If the last config has no sse, nothing else would
// tell them.
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
				s.drain(time.Duration(s.group.grace.Load()))
			}
		case openStreams.outliveConfig() && !watchingExit.Swap(true):
			time.AfterFunc(interval, check)
		}
	}
	check()
}

var watchingExit atomic.Bool

// StopDrain is the longest drain on a shutdown if the config has none. Caddy's systemd unit kills the process after 5 s. The
// commands of backend exec have to end in that time too (exec.ExitTimeout), and Caddy checks only every half second whether
// everything has ended.
const StopDrain = 2 * time.Second

// drain makes the stream end within the drain of its group, and before the end of Caddy's grace period. Caddy then cuts off all
// streams if the process exits, and those over HTTP/3 on a reload. drain returns false if the stream is ending already, or if
// it may outlive the reload.
func (s *Stream) drain(grace time.Duration) bool {
	g, exiting := s.group, caddy.Exiting()
	if !exiting && (g.OnReload == OnReloadKeep || g.OnReload == "" && !s.repeats()) {
		return false
	}
	if exiting && s.stopping.Swap(true) || s.draining.Swap(true) && !exiting {
		return false
	}
	window := g.DrainTime
	if exiting && g.DefaultDrain {
		window = min(window, StopDrain)
	}
	if grace > 0 && (exiting || s.Request.ProtoMajor == 3) {
		window = min(window, grace/2) // Caddy checks only every half second whether all have ended
	}
	after := window * 9 / 10 // the last writes need time, too
	if g.DrainMode == DrainSpread || g.DrainMode == "" && s.repeats() {
		after = Jitter(after)
	}
	time.AfterFunc(after, func() {
		s.End(EndShutdown)
		s.unblockWrites() // End does not, if the stream was ending already
	})
	return true
}

// repeats reports whether the client can be expected to reconnect by itself, as EventSource does. A request with another method may
// have started something expensive, such as the answer of a language model, which should not be cut off lightly.
func (s *Stream) repeats() bool {
	return s.Request.Method == http.MethodGet || s.Request.Method == http.MethodHead
}

// reconnectAfter returns the reconnection time for a client whose stream is drained. It is the configured time, or else a second,
// plus a random part of the drain, so that the clients do not all reconnect together.
func (g *Group) reconnectAfter() time.Duration {
	return g.retryOr(time.Second) + Jitter(g.DrainTime)
}

// retryOr returns the configured reconnection time, or other if there is none.
func (g *Group) retryOr(other time.Duration) time.Duration {
	if g.Retry > 0 {
		return g.Retry
	}
	return other
}

// Jitter returns a random duration from 0 to limit.
func Jitter(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	return rand.N(limit)
}
