package sse

import (
	"context"
	"errors"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
	"go.uber.org/zap"
)

// Bounds of the wait before an upstream is opened anew: a random time up to a limit that starts here, doubles with
// each failure in a row, and grows no further than there. A connection that brought a record, or lasted longer than any
// wait, is no failure in that sense.
const (
	minBackoff = 500 * time.Millisecond
	maxBackoff = 30 * time.Second
)

// run opens the upstream, again and again, until the source is let go or the upstream is over.
func (s *source) run() {
	defer close(s.done)
	for failed := 0; ; failed++ {
		before, began := s.count(), time.Now()
		err := s.connect()
		if s.ctx.Err() != nil {
			return
		}
		h := s.config()
		if errors.Is(err, errReplaced) {
			failed = -1
			continue
		}
		if isOver(h, err) {
			s.finish(h, err)
			return
		}
		if s.count() != before || time.Since(began) > maxBackoff {
			failed = 0
		}
		s.down(h, err)
		limit := min(minBackoff<<min(failed, 10), maxBackoff)
		if !s.wait(jitter(limit)) {
			failed = -1
		}
		s.waitForStream()
	}
}

// wait is false if it was cut short.
func (s *source) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.renewed:
	case <-s.ctx.Done():
	}
	return false
}

// waitForStream waits until somebody wants what the upstream says: nobody asks for nobody. An upstream that pushes is
// another matter.
func (s *source) waitForStream() {
	for !s.isWanted() {
		select {
		case <-s.entered:
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *source) isWanted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams) > 0 || alwaysShared(s.handler.backend)
}

// count is how many records there have been.
func (s *source) count() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.committed
}

// errReplaced ends a connection because a new config has another one.
var errReplaced = errors.New("a new config has another upstream")

// connect opens the upstream once and returns how it ended.
func (s *source) connect() error {
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	s.mapping.Lock()
	lastID := string(s.lastID)
	s.mapping.Unlock()
	s.mu.Lock()
	h, upstream := s.handler, s.upstream
	s.reconnect, s.replaced = cancel, false
	s.inputs, s.unfinished = nil, records.NewBudget(unfinishedSize)
	if s.skipID {
		lastID = ""
	}
	s.mu.Unlock()

	err := h.open(ctx, upstream, lastID, s)

	s.mu.Lock()
	inputs, replaced, live := s.inputs, s.replaced, s.state == isLive
	s.reconnect = nil
	// An id that the upstream cannot take back must not keep it down. If it is not at fault, it is tried again.
	s.skipID = lastID != "" && len(inputs) == 0 && failure.RefusesRequest(err)
	s.mu.Unlock()
	clean := endedCleanly(err)
	for _, in := range inputs {
		if endErr := in.End(clean); clean && endErr != nil {
			clean, err = false, endErr
		}
	}
	if replaced && !clean { // what ends by itself has not been cut off
		s.begin()
		// An upstream with ids of its own is told where to go on, as an EventSource would tell it.
		if live && !s.resumes {
			s.gap(frame.GapUpstream)
		}
		_ = s.commit()
		return errReplaced
	}
	return err
}

// isOver is whether there is no point in connecting anew.
func isOver(h *Handler, err error) bool {
	return errors.Is(err, ErrEnded) || errors.Is(err, errRecordTooLarge) || err == nil && h.End != nil
}

// finish lets the streams read what is left, then end.
func (s *source) finish(h *Handler, err error) {
	switch forGood := errors.Is(err, ErrEnded); {
	case forGood || err == nil:
		sources.end(h, s, forGood, time.Duration(h.Share.Keep))
	default:
		sources.end(h, s, false, 0)
		h.warnUpstream(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.over, s.lastErr = isFinished, err, err
	s.records.Close()
	for _, f := range s.feeds {
		f.frames.Close()
	}
}

// down notes that the upstream is not there, and says so once for as long as that lasts.
func (s *source) down(h *Handler, err error) {
	s.mu.Lock()
	s.state = isDown
	s.reconnects++
	s.lastErr = err
	news := err != nil && !s.reported
	s.mu.Unlock()
	if err == nil {
		h.logger.Debug("upstream has ended, connecting anew", zap.String("backend", h.backendName()))
		return
	}
	h.meters.Failures.Inc()
	if !news {
		return
	}
	if log := h.warnings(s.warnings); log != nil {
		log.Warn("upstream failed, connecting anew", zap.Error(failure.Plain(err)))
		s.mu.Lock()
		s.reported = true
		s.mu.Unlock()
	}
}
