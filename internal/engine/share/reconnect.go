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

// The wait before an upstream is opened again is a random time up to a limit. The limit starts with minBackoff, doubles with each
// consecutive failure, and ends with maxBackoff. A connection that brought a record, or lasted longer than maxBackoff, does not count
// as a failure.
const (
	minBackoff = 500 * time.Millisecond
	maxBackoff = 30 * time.Second
)

// run keeps the upstream open until the source is closed or the upstream has ended. With a store, this process or another one has it
// open.
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

// keepOpen opens the upstream repeatedly until the context is done or the upstream has ended. It returns the result of the upstream.
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
		if s.store == nil && isFailureRecord(err) { // with a store, all processes get the record
			s.breakOff(err)
		}
		limit := min(minBackoff<<min(failed, 10), maxBackoff)
		if !s.wait(ctx, stream.Jitter(limit)) {
			failed = -1
		}
		s.waitForStream(ctx)
	}
}

// wait waits for d. It returns false if the wait was interrupted.
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

// waitForStream waits until there is a stream, because nobody needs the upstream without one. It does not wait for an upstream that
// senders push to.
func (s *source) waitForStream(ctx context.Context) {
	for !s.isWanted() {
		var again <-chan time.Time // to check for streams in other processes
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

// wantedInterval is how often a source without streams in this process checks for streams in other processes.
const wantedInterval = 250 * time.Millisecond

func (s *source) isWanted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.streams) > 0 || s.server.Upstream.Shared {
		return true
	}
	member := s.member.Load()
	return member != nil && member.IsNeeded()
}

// errHalted means that a source has ended while its upstream was being opened.
var errHalted = errors.New("the source has ended")

// errReplaced ends a connection because a new config has another upstream.
var errReplaced = errors.New("a new config has another upstream")

func isFailureRecord(err error) bool {
	failed := new(upstream.FailureRecord)
	return errors.As(err, &failed)
}

// connect opens the upstream once. It returns the result, and whether the upstream has brought records.
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
		expected++ // the failure record counts as received, but is not a success
	}
	fruitful = s.received > expected
	// An id that the upstream rejects must not keep it down, so the next connection is opened without it. If the id was not the
	// reason, it is used again after that. Kubernetes rejects an id with the status 200 and a failure record.
	refused := len(inputs) == 0 && failure.RefusesRequest(err) || !fruitful && isFailureRecord(err)
	s.skipID = lastID != "" && refused
	s.mu.Unlock()
	if replaced && !upstream.EndedCleanly(err) { // after a clean end, the connection was not cut off
		s.mapping.Lock()
		resumes := s.resumes
		s.mapping.Unlock()
		// An upstream with ids of its own gets the last id, and continues after it.
		if live && !resumes {
			s.tellGap()
		}
		return fruitful, errReplaced
	}
	return fruitful, err
}

// isOver reports whether the upstream must not be opened again.
func isOver(c *Server, err error) bool {
	return errors.Is(err, backend.ErrEnded) || errors.Is(err, upstream.ErrRecordTooLarge) || err == nil && c.Ends
}

// reportEnd counts and logs that the upstream has failed for good.
func (s *source) reportEnd(c *Server, err error) {
	if err != nil && !errors.Is(err, backend.ErrEnded) {
		c.report.Failed(err)
	}
}

// finish ends the source after its upstream. The streams read the remaining events first. place is the position of the end in the store.
func (s *source) finish(c *Server, err error, keep time.Duration, place store.Pos) {
	forGood := errors.Is(err, backend.ErrEnded)
	if !forGood && err != nil && !s.once.Load() { // with once, clients that reconnect get the error, too
		keep = 0
	}
	sources.end(c, s, forGood, keep, place)
	s.mu.Lock()
	if s.state != isFinished { // it was not ended meanwhile
		s.over, s.lastErr = err, err
		s.closeLogs()
	}
	s.mu.Unlock()
	if !forGood {
		s.holdAnew()
	}
}

// tellGap sends all clients a gap: the upstream may have sent records that were not received.
func (s *source) tellGap() {
	s.mu.Lock()
	to := s.consumer()
	s.mu.Unlock()
	to.Begin()
	to.Gap(frame.GapUpstream)
	_ = to.Commit()
}

// consumer returns the consumer of the upstream's records. The source is locked.
func (s *source) consumer() upstream.Consumer {
	if s.publisher != nil {
		return s.publisher
	}
	return s
}

// settle waits until all records from the upstream are stored. It returns an error if the source is closed, or if another process has
// taken it over.
func (s *source) settle(ctx context.Context) error {
	s.mu.Lock()
	p := s.publisher
	s.mu.Unlock()
	if p != nil {
		return p.writer.Settle(ctx)
	}
	return ctx.Err()
}

// halt ends a source from outside. Its streams read the remaining events first.
func (s *source) halt(over error) {
	s.cancel() // before the state changes, so that nothing is opened any more
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != isFinished {
		s.over = over
		s.closeLogs()
	}
}

// closeLogs closes the logs. The streams read the remaining events and end. The source is locked.
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

// down records that the upstream is down, and logs it once until the upstream is back.
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
