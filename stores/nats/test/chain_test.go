package nats_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/storestest"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// chain appends numbered messages one after the other, as a leader does, until it is told to stop. It sends how many there are.
func chain(t *testing.T, l store.Log, stop <-chan struct{}, added chan<- int) {
	ctx := context.Background()
	var after store.Pos
	var longest time.Duration
	last := time.Now()
	for i := 0; ; i++ {
		longest, last = max(longest, time.Since(last)), time.Now()
		select {
		case <-stop:
			t.Logf("nothing was accepted for %v", longest)
			added <- i
			return
		default:
		}
		data := fmt.Append(nil, i)
		for end := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
			pos, err := l.Append(ctx, after, data)
			if err == nil {
				after = pos
				break
			}
			head, headErr := l.Head(ctx)
			if headErr == nil && bytes.Equal(head.Data, data) { // an attempt whose answer was lost
				after = head.Pos
				break
			}
			if headErr == nil && head.Pos != after {
				t.Errorf("message %d: the head is %q at %d, but it was %d", i, head.Data, head.Pos, after)
			} else if errors.Is(headErr, store.ErrEmpty) && after > 0 {
				t.Errorf("message %d: the log is empty", i)
			} else if time.Now().Before(end) {
				continue
			} else {
				t.Errorf("message %d: %v, %v", i, err, headErr)
			}
			added <- i
			return
		}
	}
}

// whole checks that a log has all messages once and in order.
func whole(t *testing.T, o opened, count int) {
	t.Helper()
	t.Logf("%d messages", count)
	messages, _ := storestest.Follow(t, o.Log("a"), 0)
	for i := range count {
		if m := storestest.Next(t, messages); string(m.Data) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, m.Data)
		}
	}
	if len(messages) > 0 {
		t.Errorf("there is another message: %q", (<-messages).Data)
	}
}

// member follows a log as a process does, which begins anew where a Follow has ended.
type member struct {
	seen  atomic.Int64
	after store.Pos
}

func newMember(t *testing.T, l store.Log) *member {
	m := new(member)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
			_ = l.Follow(ctx, m.after, func(msg store.Message) error {
				if msg.Pos <= m.after {
					return nil
				}
				if string(msg.Data) != fmt.Sprint(m.seen.Load()) {
					t.Errorf("a member gets %q instead of %d", msg.Data, m.seen.Load())
				}
				m.after = msg.Pos
				m.seen.Add(1)
				return nil
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return m
}

// whole waits until it has had all messages.
func (m *member) whole(t *testing.T, count int) {
	t.Helper()
	storestest.Eventually(t, "a member has all messages", func() bool { return m.seen.Load() == int64(count) })
}

func TestAServerThatIsKilledAndComesBackLosesAndDoublesNothing(t *testing.T) {
	s := startServer(t)
	o := open(t, []*server{s})
	o.awaitUp(t)
	stop, added := make(chan struct{}), make(chan int, 1)
	go chain(t, o.Log("a"), stop, added)
	m := newMember(t, open(t, []*server{s}).Log("a"))
	for range 3 {
		time.Sleep(300 * time.Millisecond)
		s.kill()
		o.awaitDown(t)
		s.start()
		o.awaitUp(t)
	}
	time.Sleep(300 * time.Millisecond)
	close(stop)
	count := storestest.Next(t, added)
	whole(t, open(t, []*server{s}), count)
	m.whole(t, count)
}

func TestALeaderThatIsKilledLosesAndDoublesNothing(t *testing.T) {
	servers := startCluster(t)
	o := open(t, servers, three)
	o.awaitUp(t)
	js := admin(t, servers...)
	stop, added := make(chan struct{}), make(chan int, 1)
	go chain(t, o.Log("a"), stop, added)
	m := newMember(t, open(t, servers, three).Log("a"))
	for range 2 {
		time.Sleep(500 * time.Millisecond)
		l := leader(t, js, servers)
		l.kill()
		storestest.Eventually(t, "another one leads", func() bool { return leader(t, js, servers) != l })
		l.start()
		storestest.Eventually(t, "all replicas are there", func() bool {
			stream, err := js.Stream(t.Context(), "SSE")
			if err != nil || stream.CachedInfo().Cluster == nil || len(stream.CachedInfo().Cluster.Replicas) != 2 {
				return false
			}
			for _, r := range stream.CachedInfo().Cluster.Replicas {
				if !r.Current {
					return false
				}
			}
			return true
		})
	}
	time.Sleep(500 * time.Millisecond)
	close(stop)
	count := storestest.Next(t, added)
	whole(t, open(t, servers, three), count)
	m.whole(t, count)
}

// Three servers say for a moment after a message was accepted that another one is on its way.
func TestWhoIsAloneWithALogHasNoConflict(t *testing.T) {
	servers := startCluster(t)
	o := open(t, servers, three)
	o.awaitUp(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			l := o.Log(fmt.Sprint("log", i))
			var after store.Pos
			for j := range 1000 {
				var err error
				if after, err = l.Append(t.Context(), after, fmt.Append(nil, j)); err != nil {
					t.Errorf("log %d, message %d: %v", i, j, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// A leader that steps down breaks no connection.
func TestAnotherLeaderLosesAndDoublesNothing(t *testing.T) {
	servers := startCluster(t)
	o := open(t, servers, three)
	o.awaitUp(t)
	js := admin(t, servers...)
	stop, added := make(chan struct{}), make(chan int, 1)
	go chain(t, o.Log("a"), stop, added)
	m := newMember(t, open(t, servers, three).Log("a"))
	_, ended := storestest.Follow(t, o.Log("a"), 0)
	for range 3 {
		time.Sleep(500 * time.Millisecond)
		l := leader(t, js, servers)
		if _, err := js.Conn().Request(jetstream.DefaultAPIPrefix+"STREAM.LEADER.STEPDOWN.SSE", nil, within); err != nil {
			t.Fatal(err)
		}
		storestest.Eventually(t, "another one leads", func() bool { return leader(t, js, servers) != l })
	}
	if err := storestest.Next(t, ended); err == nil {
		t.Error("Follow returns no error")
	}
	close(stop)
	count := storestest.Next(t, added)
	whole(t, open(t, servers, three), count)
	m.whole(t, count)
}

// It would say for a while that there is nothing new, although another one may lead.
func TestALeaderThatIsCutOffIsNoticed(t *testing.T) {
	servers := startCluster(t)
	open(t, servers, three).awaitUp(t)
	l := leader(t, admin(t, servers...), servers)
	o := open(t, []*server{l}, three)
	o.awaitUp(t)
	log := o.Log("a")
	first := storestest.Add(t, log, 0, "one")
	_, ended := storestest.Follow(t, log, 0)
	time.Sleep(5 * time.Second) // in which it is not taken for one that is cut off
	if len(ended) > 0 {
		t.Errorf("while all is well, Follow returns %v", <-ended)
	}
	if len(o.reports) > 0 {
		t.Errorf("while all is well it is reported that %v", <-o.reports)
	}
	began := time.Now()
	for _, s := range servers {
		if s != l {
			s.signal(syscall.SIGSTOP)
			defer s.signal(syscall.SIGCONT)
		}
	}
	if _, err := log.Append(t.Context(), first, []byte("two")); err == nil || errors.Is(err, store.ErrConflict) {
		t.Errorf("without the other servers, Append returns %v", err)
	}
	if err := storestest.Next(t, ended); err == nil {
		t.Error("Follow returns no error")
	}
	o.awaitDown(t)
	t.Logf("it is noticed after %v", time.Since(began))
	for _, s := range servers {
		if s != l {
			s.signal(syscall.SIGCONT)
		}
	}
	o.awaitUp(t)
}
