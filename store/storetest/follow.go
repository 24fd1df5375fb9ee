package storetest

import (
	"context"
	"errors"
	"strconv"
	"sync"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// follower is a call of Follow that runs until the end of the test.
type follower struct {
	*suite
	messages chan store.Message
	last     store.Pos
}

func (s *suite) start(l store.Log, after store.Pos) *follower {
	s.Helper()
	f := &follower{s, make(chan store.Message, 10000), after}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		err := l.Follow(ctx, after, func(m store.Message) error {
			f.messages <- m
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			s.Errorf("Follow returns %v, want %v", err, context.Canceled)
		}
	})
	s.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return f
}

// next returns the next new message. It ignores messages that come again.
func (f *follower) next() store.Message {
	f.Helper()
	for {
		if m := within(f.suite, f.messages, "Follow gives a message"); m.Pos > f.last {
			f.last = m.Pos
			return m
		}
	}
}

// expect takes the messages with the numbers from first to last.
func (f *follower) expect(first, last int) {
	f.Helper()
	for i := first; i <= last; i++ {
		if m := f.next(); string(m.Data) != strconv.Itoa(i) {
			f.Fatalf("Follow gives %.40q at %d, want %d", m.Data, m.Pos, i)
		}
	}
}

func (s *suite) follow() {
	one, other := s.two()
	early := s.start(other, 0) // the log does not exist yet
	places := s.addAll(one, 0, 1, 100)
	early.expect(1, 100)
	all, middle, newest := s.start(other, 0), s.start(other, places[49]), s.start(other, places[99])
	all.expect(1, 100)
	middle.expect(51, 100)
	s.addAll(one, places[99], 101, 200)
	for _, f := range []*follower{early, all, middle, newest} {
		f.expect(101, 200)
	}
}

func (s *suite) followFails() {
	one, other := s.two()
	enough := errors.New("enough")
	ended := make(chan error, 1)
	count := 0
	go func() {
		ended <- other.Follow(s.Context(), 0, func(m store.Message) error {
			if count++; string(m.Data) == "2" {
				return enough
			}
			return nil
		})
	}()
	s.addAll(one, 0, 1, 3)
	if err := within(s, ended, "Follow returns"); !errors.Is(err, enough) {
		s.Errorf("Follow returns %v, want %v", err, enough)
	}
	if count != 2 {
		s.Errorf("the function was called %d times, want 2", count)
	}
}

func (s *suite) trim() {
	one, other := s.two()
	places := s.addAll(one, 0, 1, 10)
	trim := func(before store.Pos) {
		s.Helper()
		if err := one.Trim(s.Context(), before); err != nil {
			s.Errorf("Trim: %v", err)
		}
	}
	trim(0)
	s.start(other, 0).expect(1, 10)
	trim(places[5])
	trim(places[2])
	s.start(other, 0).expect(6, 10)
	s.start(other, places[1]).expect(6, 10)
	trim(places[9] + 1<<40)
	s.expectHead(other, places[9], "10")
	s.start(other, 0).expect(10, 10)
	s.expectConflict(other, 0)
	s.add(other, places[9], "11")
}

func (s *suite) followTrimmed() {
	one, other := s.two()
	f := s.start(other, 0)
	var after store.Pos
	for i := 1; i <= 50; i++ {
		after = s.add(one, after, strconv.Itoa(i))
		if i%10 == 0 {
			f.expect(i-9, i)
			if err := one.Trim(s.Context(), after); err != nil {
				s.Errorf("Trim: %v", err)
			}
		}
	}
}

// calls starts a Follow and a Watch, which wait. It returns a channel for their errors.
func (s *suite) calls(ctx context.Context, st store.Store) <-chan error {
	s.Helper()
	l, p := st.Log(name()), st.Presence()
	s.add(l, 0, "one")
	errs, begun, heard := make(chan error, 2), make(chan bool, 1), make(chan []byte, 1000)
	go func() {
		errs <- l.Follow(ctx, 0, func(store.Message) error {
			select {
			case begun <- true:
			default: // the message may come again
			}
			return nil
		})
	}()
	go func() { errs <- p.Watch(ctx, func(data []byte) { heard <- data }) }()
	within(s, begun, "Follow begins")
	s.hear(s.open().Presence(), heard, 1)
	return errs
}

func (s *suite) canceled() {
	st := s.open()
	ctx, cancel := context.WithCancel(s.Context())
	errs := s.calls(ctx, st)
	cancel()
	for range cap(errs) {
		if err := within(s, errs, "a call returns"); !errors.Is(err, context.Canceled) {
			s.Errorf("a call returns %v, want %v", err, context.Canceled)
		}
	}
	l := st.Log(name())
	if _, err := l.Head(ctx); !errors.Is(err, context.Canceled) {
		s.Errorf("Head returns %v, want %v", err, context.Canceled)
	}
	if _, err := l.Append(ctx, 0, nil); !errors.Is(err, context.Canceled) {
		s.Errorf("Append returns %v, want %v", err, context.Canceled)
	}
	if err := l.Trim(ctx, 1); !errors.Is(err, context.Canceled) {
		s.Errorf("Trim returns %v, want %v", err, context.Canceled)
	}
}

func (s *suite) closed() {
	st := s.connect(s.T)
	l := st.Log(name())
	errs := s.calls(s.Context(), st)
	if err := st.Close(); err != nil {
		s.Errorf("Close: %v", err)
	}
	for range cap(errs) {
		if err := within(s, errs, "a call returns"); err == nil {
			s.Error("a call that was in progress returns no error")
		}
	}
	if _, err := l.Append(s.Context(), 0, nil); err == nil || errors.Is(err, store.ErrConflict) {
		s.Errorf("after Close, Append returns %v", err)
	}
}
