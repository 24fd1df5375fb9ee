package upstream

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/backend"
)

// ErrSilent is the error of an upstream that has sent nothing for upstream_timeout.
var ErrSilent = fmt.Errorf("upstream has sent nothing for upstream_timeout: %w", context.DeadlineExceeded)

// Silence ends an upstream that sends nothing for upstream_timeout. The time in which its bytes wait for a slow client does not count.
// The methods Takes, Taken and Stop work on a nil Silence, which watches nothing.
type Silence struct {
	timeout time.Duration
	end     func()

	mu      sync.Mutex
	timer   *time.Timer
	heard   time.Time // when its last bytes were taken
	taking  int       // the number of calls that are taking bytes
	stopped bool
	expired bool // it was silent for too long
}

// WatchSilence starts to watch an upstream. It calls end, once, if the upstream is silent for too long. It does not call end after Stop
// has returned. It returns nil if there is no timeout.
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

// Takes says that bytes of the upstream have come and are being taken.
func (s *Silence) Takes() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taking++
}

// Taken says that the bytes have been taken.
func (s *Silence) Taken() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taking--
	s.heard = time.Now()
}

// Heard restarts the timeout, as if the upstream had sent something.
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
		s.stopped, s.expired = true, true
		s.end()
	}
}

// Stop ends the watch after the upstream has returned err. It returns ErrSilent if the upstream was ended for its silence, and err
// otherwise.
func (s *Silence) Stop(err error) error {
	if s == nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.timer.Stop()
	if s.expired && err != nil {
		return ErrSilent
	}
	return err
}

// watchedSink tells a Silence when its upstream sends something.
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
