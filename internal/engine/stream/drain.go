package stream

import (
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
)

// Drain makes the streams of this group end: all of this process, if it is about to exit. grace is the time after which
// Caddy cuts them off, 0 if it does not.
func (g *Group) Drain(grace time.Duration) {
	exiting := caddy.Exiting()
	g.grace.Store(int64(grace))
	g.draining.Store(true)
	ending := 0
	for _, s := range openStreams.all() {
		// A request without a response may wait for its upstream for ever. A reload leaves it alone.
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

// watchExit drains the streams that have outlived their config when the process exits. A last config without an sse would
// not tell them.
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

// StopDrain is the longest drain of a stop if the config gives none. Caddy's systemd unit kills it 5 s after it was asked to
// stop. By then the commands of backend exec have to end, too (exec.ExitTimeout), and Caddy checks only every half second
// whether all is done.
const StopDrain = 2 * time.Second

// drain makes the stream end within its group's drain, and before Caddy cuts it off after its grace period. Caddy
// does so to all streams when the process exits, and to those of HTTP/3 on a reload, too. drain reports false for a stream
// that is ending already, or that a reload lets live on.
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
		window = min(window, grace/2) // Caddy looks only every half second whether all have ended
	}
	after := window * 9 / 10 // the last ones need time to be written, too
	if g.DrainMode == DrainSpread || g.DrainMode == "" && s.repeats() {
		after = Jitter(after)
	}
	time.AfterFunc(after, func() {
		s.End(EndShutdown)
		s.unblockWrites() // of one that was about to end by itself, too
	})
	return true
}

// repeats reports whether a client can be expected to ask again by itself, as EventSource does. A request of another method
// may have done something, such as asking a language model, so that its answer is not to be cut off lightly.
func (s *Stream) repeats() bool {
	return s.Request.Method == http.MethodGet || s.Request.Method == http.MethodHead
}

// comeBackAfter returns the reconnection time of a client whose stream is drained. It is spread out, so that clients do not
// all come back together: up to the drain's length on top of the configured time, or of a second.
func (g *Group) comeBackAfter() time.Duration {
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
