package share

import (
	"context"
	"errors"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
	"github.com/seed-4dedbcea/caddy-sse/store"
	"go.uber.org/zap"
)

// Bounds of the wait before an upstream is opened anew: a random time up to a limit that starts here, doubles with
// each failure in a row, and grows no further than there. A connection that brought a record, or lasted longer than any
// wait, is no failure in that sense.
const (
	minBackoff = 500 * time.Millisecond
	maxBackoff = 30 * time.Second
)

// run has the upstream open until the source is let go or the upstream is over. With a store, it is this process or another
// one that has it open.
func (s *source) run() {
	defer close(s.done)
	if s.store != nil {
		s.joinFleet()
		return
	}
	if err, over := s.keepOpen(s.ctx); over {
		c := s.config()
		s.reportEnd(c, err)
		s.finish(c, err, c.Keep, 0)
	}
}

// keepOpen opens the upstream, again and again, until the context is done or the upstream is over. It returns how it has
// ended.
func (s *source) keepOpen(ctx context.Context) (err error, over bool) {
	for failed := 0; ; failed++ {
		began := time.Now()
		fruitful, err := s.connect(ctx)
		if s.settle(ctx) != nil {
			return nil, false
		}
		c := s.config()
		if errors.Is(err, errReplaced) {
			failed = -1
			continue
		}
		if s.once.Load() || isOver(c, err) {
			return err, true
		}
		if fruitful || time.Since(began) > maxBackoff {
			failed = 0
		}
		s.down(c, err)
		if s.store == nil && isFailureRecord(err) { // else all processes are told
			s.breakOff(err)
		}
		limit := min(minBackoff<<min(failed, 10), maxBackoff)
		if !s.wait(ctx, stream.Jitter(limit)) {
			failed = -1
		}
		s.waitForStream(ctx)
	}
}

// wait waits for d. It reports false if the wait was cut short.
func (s *source) wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.renewed:
	case <-ctx.Done():
	}
	return false
}

// waitForStream waits until there is a stream: without one, nobody needs the upstream. An upstream that pushes is
// another matter.
func (s *source) waitForStream(ctx context.Context) {
	for !s.isWanted() {
		var again <-chan time.Time // to look for streams of other processes
		if s.store != nil {
			again = time.After(wantedInterval)
		}
		select {
		case <-s.entered:
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// wantedInterval is how often a source with no streams here looks for those of other processes.
const wantedInterval = 250 * time.Millisecond

func (s *source) isWanted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams) > 0 || s.server.Upstream.Shared || s.member != nil && s.member.IsNeeded()
}

// errHalted says that a source has ended while its upstream was opened.
var errHalted = errors.New("the source has ended")

// errReplaced ends a connection because a new config has another one.
var errReplaced = errors.New("a new config has another upstream")

func isFailureRecord(err error) bool {
	failed := new(upstream.FailureRecord)
	return errors.As(err, &failed)
}

// connect opens the upstream once. It returns how it ended, and whether it has brought records.
func (s *source) connect(ctx context.Context) (fruitful bool, err error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mapping.Lock()
	lastID := string(s.lastID)
	s.mapping.Unlock()
	s.mu.Lock()
	if s.state == isFinished {
		s.mu.Unlock()
		return false, errHalted
	}
	c, asked, before := s.server, s.upstream, s.received
	s.reconnect, s.replaced = cancel, false
	s.inputs, s.unfinished = nil, upstream.NewBudget()
	if s.skipID {
		lastID = ""
	}
	s.mu.Unlock()

	err = c.Upstream.Open(ctx, asked, lastID, s)

	s.mu.Lock()
	inputs, replaced, live := s.inputs, s.replaced, s.state == IsLive
	s.reconnect = nil
	s.mu.Unlock()
	err = upstream.EndInputs(inputs, err)

	s.mu.Lock()
	expected := before
	if isFailureRecord(err) {
		expected++ // it counts, but brings nothing
	}
	fruitful = s.received > expected
	// An id that the upstream cannot take back must not keep it down. If it is not at fault, it is tried again. Kubernetes
	// refuses one with status 200, and a record that says so.
	refused := len(inputs) == 0 && failure.RefusesRequest(err) || !fruitful && isFailureRecord(err)
	s.skipID = lastID != "" && refused
	s.mu.Unlock()
	if replaced && !upstream.EndedCleanly(err) { // an upstream that has ended by itself was not cut off
		s.mapping.Lock()
		resumes := s.resumes
		s.mapping.Unlock()
		// An upstream with ids of its own is told where to go on, as an EventSource would tell it.
		if live && !resumes {
			s.tellGap()
		}
		return fruitful, errReplaced
	}
	return fruitful, err
}

// isOver reports whether there is no point in connecting anew.
func isOver(c *Server, err error) bool {
	return errors.Is(err, backend.ErrEnded) || errors.Is(err, upstream.ErrRecordTooLarge) || err == nil && c.Ends
}

// reportEnd counts and logs that the upstream has failed for good.
func (s *source) reportEnd(c *Server, err error) {
	if err != nil && !errors.Is(err, backend.ErrEnded) {
		c.report.Failed(err)
	}
}

// finish lets the streams read the rest, then end. The place is that of the end in the store.
func (s *source) finish(c *Server, err error, keep time.Duration, place store.Pos) {
	forGood := errors.Is(err, backend.ErrEnded)
	if !forGood && err != nil && !s.once.Load() { // else clients that return are told, too
		keep = 0
	}
	sources.end(c, s, forGood, keep, place)
	s.mu.Lock()
	if s.state != isFinished { // else somebody has ended it meanwhile
		s.over, s.lastErr = err, err
		s.closeLogs()
	}
	s.mu.Unlock()
	if !forGood {
		s.holdAnew()
	}
}

// tellGap tells all clients that the upstream may have sent records that nobody has got.
func (s *source) tellGap() {
	s.mu.Lock()
	to := s.consumer()
	s.mu.Unlock()
	to.Begin()
	to.Gap(frame.GapUpstream)
	_ = to.Commit()
}

// consumer returns where the upstream's records go. The source is locked.
func (s *source) consumer() upstream.Consumer {
	if s.publisher != nil {
		return s.publisher
	}
	return s
}

// settle waits until all that has come from the upstream is kept. It returns an error if the source is let go, or if another
// process has taken it over.
func (s *source) settle(ctx context.Context) error {
	s.mu.Lock()
	p := s.publisher
	s.mu.Unlock()
	if p != nil {
		return p.writer.Settle(ctx)
	}
	return ctx.Err()
}

// halt ends a source from outside, and its streams once they have the rest.
func (s *source) halt(over error) {
	s.cancel() // before the state says so: nothing is opened any more
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != isFinished {
		s.over = over
		s.closeLogs()
	}
}

// closeLogs lets the streams read the rest, then end. The source is locked.
func (s *source) closeLogs() {
	s.state = isFinished
	if !s.server.Upstream.Shared {
		s.upstream = nil // it may hold the body of a request
	}
	s.records.Close()
	for _, f := range s.feeds {
		f.frames.Close()
	}
}

// down notes that the upstream is not there, and says so once for as long as that lasts.
func (s *source) down(c *Server, err error) {
	s.mu.Lock()
	if s.state == isFinished {
		s.mu.Unlock()
		return
	}
	s.state, s.changed = IsDown, time.Now()
	s.attempts++
	s.lastErr = err
	first := !s.reported
	s.mu.Unlock()
	if err == nil {
		c.report.Logger.Debug("upstream has ended, connecting anew", zap.String("backend", c.report.Backend))
		return
	}
	if c.report.FailedAgain(err, first, s.warnings) {
		s.mu.Lock()
		s.reported = true
		s.mu.Unlock()
	}
}
