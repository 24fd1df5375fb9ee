// Package storetest checks that an engine fulfills the contract in package store:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, 0, func(t *testing.T) store.Store { return open(t, server) })
//	}
//
// It does not check failures of the engine, because each engine fails in its own way.
package storetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// patience is how long an engine may take for anything that it must do soon. It is generous, for machines under load.
const patience = 30 * time.Second

// Run tests an engine in subtests of t. connect returns a new connection to the engine, like that of another process. It
// must be ready for use. The tests close it. largest is the size of the largest message that the engine takes, in bytes, or
// 0 if that is too large for a test. The engine may have logs already. Run does not delete the logs that it creates.
func Run(t *testing.T, largest int, connect func(t *testing.T) store.Store) {
	t.Helper()
	for name, test := range map[string]func(*suite){
		"AnEmptyLogHasNoHead":                           (*suite).emptyLog,
		"TheNewestMessageIsTheHead":                     (*suite).head,
		"AMessageIsWhatItWas":                           (*suite).content,
		"OnlyAfterTheNewestMessageIsAnotherAdded":       (*suite).conflict,
		"OfManyWritersOneIsFirst":                       (*suite).race,
		"FollowGivesEachMessageInOrder":                 (*suite).follow,
		"FollowReturnsTheErrorOfItsFunction":            (*suite).followFails,
		"TrimDropsOlderMessagesButNotTheNewest":         (*suite).trim,
		"FollowGoesOnWhileMessagesAreDropped":           (*suite).followTrimmed,
		"LogsAreIndependent":                            (*suite).logs,
		"CallsReturnWhenTheirContextIsDone":             (*suite).canceled,
		"CallsReturnWhenTheStoreIsClosed":               (*suite).closed,
		"WhatIsAnnouncedReachesThoseThatWatch":          (*suite).presence,
		"AMessageThatIsTooLargeIsRefusedAndNothingElse": (*suite).tooLarge,
	} {
		t.Run(name, func(t *testing.T) { test(&suite{t, largest, connect}) })
	}
}

type suite struct {
	*testing.T
	largest int
	connect func(t *testing.T) store.Store
}

// open returns a connection that is closed at the end of the test.
func (s *suite) open() store.Store {
	s.Helper()
	st := s.connect(s.T)
	s.Cleanup(func() {
		if err := st.Close(); err != nil {
			s.Errorf("Close: %v", err)
		}
	})
	return st
}

// name returns an unused name for a log.
func name() string { return "test" + strconv.FormatUint(rand.Uint64(), 36) }

// two returns an empty log, on two connections.
func (s *suite) two() (one, other store.Log) {
	s.Helper()
	n := name()
	return s.open().Log(n), s.open().Log(n)
}

// add appends a message, which must be accepted.
func (s *suite) add(l store.Log, after store.Pos, data string) store.Pos {
	s.Helper()
	pos, err := l.Append(s.Context(), after, []byte(data))
	if err != nil {
		s.Fatalf("Append: %v", err)
	}
	if pos <= after {
		s.Fatalf("Append returns the position %d, which is not after %d", pos, after)
	}
	return pos
}

// addAll appends messages with the numbers from first to last. It returns their positions.
func (s *suite) addAll(l store.Log, after store.Pos, first, last int) (places []store.Pos) {
	s.Helper()
	for i := first; i <= last; i++ {
		after = s.add(l, after, strconv.Itoa(i))
		places = append(places, after)
	}
	return places
}

func (s *suite) expectHead(l store.Log, pos store.Pos, data string) {
	s.Helper()
	m, err := l.Head(s.Context())
	if err != nil || m.Pos != pos || string(m.Data) != data {
		s.Errorf("Head returns %.40q at %d, %v; want %.40q at %d", m.Data, m.Pos, err, data, pos)
	}
}

func (s *suite) expectConflict(l store.Log, after store.Pos) {
	s.Helper()
	if pos, err := l.Append(s.Context(), after, []byte("conflict")); !errors.Is(err, store.ErrConflict) {
		s.Errorf("Append after %d returns %d, %v; want %v", after, pos, err, store.ErrConflict)
	}
}

func (s *suite) emptyLog() {
	l, _ := s.two()
	if m, err := l.Head(s.Context()); !errors.Is(err, store.ErrEmpty) {
		s.Errorf("Head returns %q at %d, %v; want %v", m.Data, m.Pos, err, store.ErrEmpty)
	}
	s.expectConflict(l, 1)
	if err := l.Trim(s.Context(), 1); err != nil {
		s.Errorf("Trim: %v", err)
	}
	s.add(l, 0, "one")
}

func (s *suite) head() {
	one, other := s.two()
	var pos store.Pos
	for i, l := range []store.Log{one, other, other, one} {
		data := strconv.Itoa(i)
		pos = s.add(l, pos, data)
		s.expectHead(one, pos, data)
		s.expectHead(other, pos, data)
	}
}

func (s *suite) content() {
	one, other := s.two()
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	large := make([]byte, 640<<10) // more than the handler sends in one message
	for i := range large {
		large[i] = byte(rand.Uint32())
	}
	var pos store.Pos
	want := []string{"", string(all), string(large), "\r\n", "$1\r\n"}
	for _, data := range want {
		given := []byte(data)
		var err error
		if pos, err = one.Append(s.Context(), pos, given); err != nil {
			s.Fatalf("Append: %v", err)
		}
		clear(given) // Append must not keep it
		s.expectHead(other, pos, data)
	}
	f := s.start(other, 0)
	for _, data := range want {
		if m := f.next(); string(m.Data) != data {
			s.Errorf("Follow gives %.40q, want %.40q", m.Data, data)
		}
	}
}

func (s *suite) conflict() {
	one, other := s.two()
	places := s.addAll(one, 0, 1, 3)
	for _, l := range []store.Log{one, other} {
		for _, after := range []store.Pos{0, places[0], places[1], places[0] + 1, places[2] - 1, places[2] + 1, 1 << 62} {
			if after != places[2] {
				s.expectConflict(l, after)
			}
		}
	}
	s.expectHead(other, places[2], "3")
	s.add(other, places[2], "4")
	s.expectConflict(one, places[2])
}

// race has several writers add messages at the same time. Each message must be in the log once, right after the message that
// its writer named.
func (s *suite) race() {
	const writers, each = 4, 25
	n := name()
	after := make(map[string]store.Pos)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range writers {
		l := s.open().Log(n)
		wg.Go(func() {
			for i := 0; i < each; {
				head, err := l.Head(s.Context())
				if err != nil && !errors.Is(err, store.ErrEmpty) {
					s.Errorf("Head: %v", err)
					return
				}
				data := strconv.Itoa(w) + "/" + strconv.Itoa(i)
				_, err = l.Append(s.Context(), head.Pos, []byte(data))
				if errors.Is(err, store.ErrConflict) {
					continue
				}
				if err != nil {
					s.Errorf("Append: %v", err)
					return
				}
				mu.Lock()
				after[data] = head.Pos
				mu.Unlock()
				i++
			}
		})
	}
	wg.Wait()
	f := s.start(s.open().Log(n), 0)
	var last store.Pos
	for range len(after) {
		m := f.next()
		if want, added := after[string(m.Data)]; !added || want != last {
			s.Fatalf("the message %q at %d comes after %d: it was added after %d (%v)", m.Data, m.Pos, last, want, added)
		}
		delete(after, string(m.Data))
		last = m.Pos
	}
}

func (s *suite) logs() {
	st := s.open()
	a, b := st.Log(name()), st.Log(name())
	first := s.add(a, 0, "a1")
	f := s.start(b, 0)
	second := s.add(b, 0, "b1")
	s.add(a, first, "a2")
	s.add(b, second, "b2")
	for _, want := range []string{"b1", "b2"} {
		if m := f.next(); string(m.Data) != want {
			s.Errorf("Follow gives %q, want %q", m.Data, want)
		}
	}
	if err := a.Trim(s.Context(), 1<<62); err != nil {
		s.Errorf("Trim: %v", err)
	}
	if m := s.start(b, 0).next(); string(m.Data) != "b1" {
		s.Errorf("after another log was trimmed, the first message is %q", m.Data)
	}
}

func (s *suite) tooLarge() {
	if s.largest == 0 {
		s.Log("the engine's limit is too large to be tested")
		return
	}
	l, _ := s.two()
	pos := s.add(l, 0, string(make([]byte, s.largest)))
	for _, size := range []int{s.largest + 1, 2 * s.largest} {
		if _, err := l.Append(s.Context(), pos, make([]byte, size)); !errors.Is(err, store.ErrTooLarge) {
			s.Errorf("Append of %d bytes returns %v, want %v", size, err, store.ErrTooLarge)
		}
	}
	s.add(l, pos, "small")
}

func (s *suite) presence() {
	one, other := s.open().Presence(), s.open().Presence()
	heard := make(chan []byte, 1000)
	ctx, cancel := context.WithCancel(s.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- one.Watch(ctx, func(data []byte) {
			select {
			case heard <- data:
			default:
			}
		})
	}()
	for _, size := range []int{256 << 10, 1} {
		s.hear(other, heard, size)
	}
	cancel()
	if err := within(s, ended, "Watch returns"); !errors.Is(err, context.Canceled) {
		s.Errorf("Watch returns %v, want %v", err, context.Canceled)
	}
}

// hear announces data of this size until it is heard, because announcements may be lost.
func (s *suite) hear(p store.Presence, heard <-chan []byte, size int) {
	s.Helper()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for end := time.After(patience); ; {
		if err := p.Announce(make([]byte, size)); err != nil {
			s.Errorf("Announce: %v", err)
		}
		select {
		case data := <-heard:
			if len(data) == size {
				return
			}
		case <-again.C:
		case <-end:
			s.Fatalf("%d bytes are not heard", size)
		}
	}
}

// within returns the value that arrives on c.
func within[T any](s *suite, c <-chan T, what string) T {
	s.Helper()
	select {
	case value := <-c:
		return value
	case <-time.After(patience):
		s.Fatalf("it does not happen that %s", what)
		panic("unreachable")
	}
}
