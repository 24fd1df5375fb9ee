package nats_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/storestest"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

func TestAConfigLoadsWithoutItsServerWhichComesLater(t *testing.T) {
	s := newServer(t, "one")
	o := open(t, []*server{s})
	o.awaitDown(t)
	if _, err := o.Log("a").Append(t.Context(), 0, []byte("x")); err == nil || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrRefused) {
		t.Errorf("without a server, Append returns %v", err)
	}
	if err := o.Presence().Announce([]byte("x")); err == nil {
		t.Error("without a server, Announce returns no error")
	}
	s.start()
	o.awaitUp(t)
	storestest.Add(t, o.Log("a"), 0, "x")
}

func TestThatAServerIsAwayIsReportedOnce(t *testing.T) {
	s := startServer(t)
	o := open(t, []*server{s})
	for range 3 {
		o.awaitUp(t)
		s.kill()
		o.awaitDown(t)
		time.Sleep(time.Second) // in which it is tried again, more than once
		s.start()
	}
	o.awaitUp(t)
	if len(o.reports) > 0 {
		t.Errorf("there is another report: %v", <-o.reports)
	}
}

func TestAServerThatHangsIsReportedAndNothingIsLost(t *testing.T) {
	s := startServer(t)
	o := open(t, []*server{s})
	o.awaitUp(t)
	l := o.Log("a")
	first := storestest.Add(t, l, 0, "one")
	messages, ended := storestest.Follow(t, l, 0)
	storestest.Next(t, messages)

	s.signal(syscall.SIGSTOP)
	if _, err := l.Append(t.Context(), first, []byte("two")); err == nil || errors.Is(err, store.ErrConflict) {
		t.Errorf("while the server hangs, Append returns %v", err)
	}
	if err := storestest.Next(t, ended); err == nil {
		t.Error("Follow returns no error")
	}
	o.awaitDown(t)

	s.signal(syscall.SIGCONT)
	o.awaitUp(t)
	var head store.Message
	storestest.Eventually(t, "the head can be read", func() (ok bool) {
		var err error
		head, err = l.Head(t.Context())
		return err == nil
	})
	if head.Pos != first && string(head.Data) != "two" { // what it got while it hung, it may have read since
		t.Errorf("the head is %q", head.Data)
	}
	storestest.Eventually(t, "a message is added", func() bool {
		_, err := l.Append(t.Context(), head.Pos, []byte("three"))
		if errors.Is(err, store.ErrConflict) {
			head, err = l.Head(t.Context())
			if err == nil && string(head.Data) != "two" {
				t.Fatalf("the head is %q", head.Data)
			}
			return false
		}
		return err == nil
	})
}

func TestCallsReturnWhenTheStoreIsClosedOrTheirContextIsDone(t *testing.T) {
	s := startServer(t)
	o := open(t, []*server{s})
	o.awaitUp(t)
	l := o.Log("a")
	pos := storestest.Add(t, l, 0, "one")
	s.signal(syscall.SIGSTOP)
	defer s.signal(syscall.SIGCONT)

	calls := func(ctx context.Context) <-chan error {
		errs := make(chan error, 10)
		for _, call := range []func() error{
			func() error { _, err := l.Head(ctx); return err },
			func() error { _, err := l.Append(ctx, pos, []byte("two")); return err },
			func() error { return l.Trim(ctx, pos+1) },
			func() error { return l.Follow(ctx, pos, func(store.Message) error { return nil }) },
			func() error { return o.Presence().Watch(ctx, func([]byte) {}) },
		} {
			go func() { errs <- call() }()
		}
		return errs
	}
	ctx, cancel := context.WithCancel(t.Context())
	errs := calls(ctx)
	cancel()
	for range 5 {
		if err := storestest.Next(t, errs); !errors.Is(err, context.Canceled) {
			t.Errorf("once the context is done: %v", err)
		}
	}
	errs = calls(t.Context())
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	for range 5 {
		if err := storestest.Next(t, errs); err == nil {
			t.Error("once it is closed, a call returns no error")
		}
	}
}

func TestWhoFollowsOrWatchesIsToldThatTheConnectionIsLost(t *testing.T) {
	s := startServer(t)
	o := open(t, []*server{s})
	o.awaitUp(t)
	_, ended := storestest.Follow(t, o.Log("a"), 0)
	watched, heard := make(chan error, 1), make(chan []byte, 1000)
	go func() { watched <- o.Presence().Watch(t.Context(), func(data []byte) { heard <- data }) }()
	storestest.Eventually(t, "what is announced is heard", func() bool {
		if err := o.Presence().Announce(make([]byte, 256<<10)); err != nil {
			t.Error(err)
		}
		return len(heard) > 0
	})
	s.kill()
	for _, c := range []<-chan error{ended, watched} {
		if err := storestest.Next(t, c); err == nil {
			t.Error("a call returns no error")
		}
	}
}

// A stream of the same name may be made at once, with the places of the one before.
func TestWhoFollowsAStreamThatIsMadeAnewIsToldSo(t *testing.T) {
	s := startServer(t)
	js := admin(t, s)
	o := open(t, []*server{s})
	o.awaitUp(t)
	l := o.Log("a")
	first := storestest.Add(t, l, 0, "one")
	messages, ended := storestest.Follow(t, l, 0)
	storestest.Next(t, messages)
	second := storestest.Add(t, l, first, "two")
	storestest.Next(t, messages)
	stream, err := js.Stream(t.Context(), "SSE")
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), "SSE"); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), stream.CachedInfo().Config); err != nil && !strings.Contains(err.Error(), "in use") {
		t.Fatal(err)
	}
	for range 10 { // or it would be shorter than the other one
		if _, err := js.Publish(t.Context(), "sse.log.b", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := storestest.Next(t, ended); err == nil {
		t.Error("Follow returns no error")
	}
	storestest.Eventually(t, "the log is empty", func() bool {
		_, err := l.Head(t.Context())
		return errors.Is(err, store.ErrEmpty)
	})
	if _, err := l.Append(t.Context(), second, []byte("three")); !errors.Is(err, store.ErrConflict) {
		t.Errorf("after a message that is lost, Append returns %v", err)
	}
	storestest.Add(t, l, 0, "three")
}

// A server tells of the others that it knows.
func TestIfItsServerFailsAProcessGoesOnWithAnother(t *testing.T) {
	servers := startCluster(t)
	o := open(t, servers, three)
	o.awaitUp(t)
	js := admin(t, servers...)
	l := leader(t, js, servers)
	var other *server // one that does not lead, so that the stream goes on
	for _, s := range servers {
		if s != l {
			other = s
		}
	}
	for name, fail := range map[string]func(){"killed": other.kill, "hangs": func() { other.signal(syscall.SIGSTOP) }} {
		if name == "hangs" && other.process == nil {
			other.start()
		}
		p := open(t, []*server{other}, three)
		p.awaitUp(t)
		log := p.Log(name)
		pos := storestest.Add(t, log, 0, "one")
		fail()
		p.awaitDown(t)
		p.awaitUp(t)
		storestest.Add(t, log, pos, "two")
		if name == "hangs" {
			other.signal(syscall.SIGCONT)
		}
	}
}
