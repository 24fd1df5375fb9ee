package upstream

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/backend"
)

// ErrSilent ends an upstream that has sent nothing for upstream_timeout.
var ErrSilent = fmt.Errorf("upstream has sent nothing for upstream_timeout: %w", context.DeadlineExceeded)

// Silence watches an upstream, and ends it once it has sent nothing for too long. The time in which its bytes wait for a
// slow client does not count. A nil Silence watches nothing.
type Silence struct {
	timeout time.Duration
	end     func()

	mu      sync.Mutex
	timer   *time.Timer
	heard   time.Time // when it last sent something
	taking  int       // pieces that are being taken
	stopped bool
	broken  bool // it was silent for too long
}

// WatchSilence begins to watch an upstream. end is called once if it is silent for too long, not later than Stop returns.
func (c *Config) WatchSilence(end func()) *Silence {
	if c.Timeout <= 0 {
		return nil
	}
	s := &Silence{timeout: c.Timeout, end: end, heard: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(c.Timeout, s.look)
	return s
}

// Takes notes that the upstream has sent something, which is being taken.
func (s *Silence) Takes() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taking++
}

// Taken notes that it has been taken.
func (s *Silence) Taken() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taking--
	s.heard = time.Now()
}

// Heard begins to wait anew, as if the upstream had sent something.
func (s *Silence) Heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = time.Now()
}

func (s *Silence) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.timeout - time.Since(s.heard)
	switch {
	case s.stopped:
	case s.taking > 0:
		s.timer.Reset(s.timeout)
	case left > 0:
		s.timer.Reset(left)
	default:
		s.stopped, s.broken = true, true
		s.end()
	}
}

// Stop ends the watch after the upstream has ended with err. It returns ErrSilent if the upstream was ended for its silence.
func (s *Silence) Stop(err error) error {
	if s == nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.timer.Stop()
	if s.broken && err != nil {
		return ErrSilent
	}
	return err
}

// watchedSink tells a Silence of all that its upstream sends.
type watchedSink struct {
	backend.Sink
	silence *Silence
}

func (w watchedSink) Open(contentType string) (backend.Input, error) {
	w.silence.Takes()
	defer w.silence.Taken()
	in, err := w.Sink.Open(contentType)
	if err != nil {
		return nil, err
	}
	return watchedInput{in, w.silence}, nil
}

type watchedInput struct {
	backend.Input
	silence *Silence
}

func (w watchedInput) Write(p []byte) (int, error) {
	w.silence.Takes()
	defer w.silence.Taken()
	return w.Input.Write(p)
}
