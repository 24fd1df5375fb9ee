package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/storestest"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

func TestALongHistoryIsReadWholeWhateverTheSizeOfItsMessages(t *testing.T) {
	s := startServer(t)
	o := open(t, s.url())
	o.awaitUp(t)
	l := o.Log("a")
	var pos store.Pos
	var want []string
	for i := range 300 {
		size := 10
		if i >= 100 && i < 110 {
			size = 3 << 20 / 2
		}
		want = append(want, fmt.Sprintf("%d %s", i, strings.Repeat("x", size)))
		pos = storestest.Add(t, l, pos, want[i])
	}
	messages, _ := storestest.Follow(t, l, 0)
	for i := range want {
		if m := storestest.Next(t, messages); string(m.Data) != want[i] {
			t.Fatalf("message %d is %.20q", i, m.Data)
		}
	}
}

// Each follower has its own pace, and those of one process share a connection.
func TestManyFollowTheSameAndOtherLogs(t *testing.T) {
	s := startServer(t)
	writer, reader := open(t, s.url()), open(t, s.url())
	writer.awaitUp(t)
	const logs, followers, messages = 5, 3, 20
	var all []<-chan store.Message
	for i := range logs * followers {
		c, _ := storestest.Follow(t, reader.Log(fmt.Sprint("log", i%logs)), 0)
		all = append(all, c)
	}
	var wg sync.WaitGroup
	for i := range logs {
		wg.Go(func() {
			l := writer.Log(fmt.Sprint("log", i))
			var pos store.Pos
			for j := range messages {
				var err error
				if pos, err = l.Append(t.Context(), pos, fmt.Append(nil, i, j)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for i, c := range all {
		for j := range messages {
			if m := storestest.Next(t, c); string(m.Data) != fmt.Sprint(i%logs, j) {
				t.Fatalf("follower %d: message %d is %q", i, j, m.Data)
			}
		}
	}
	storestest.Eventually(t, "the follower has the channels of its logs, and one more", func() bool {
		return len(s.do("PUBSUB", "CHANNELS").([]any)) == logs+1
	})
}

func TestAChannelWithoutListenersIsLeft(t *testing.T) {
	s := startServer(t)
	o := open(t, s.url())
	o.awaitUp(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.Log("a").Follow(ctx, 0, func(store.Message) error { return nil }) }()
	channels := func(want int) func() bool {
		return func() bool { return len(s.do("PUBSUB", "CHANNELS", "sse:news:*").([]any)) == want }
	}
	storestest.Eventually(t, "it is subscribed to", channels(1))
	cancel()
	if err := storestest.Next(t, ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Follow returns %v", err)
	}
	storestest.Eventually(t, "it is left", channels(0))
}

func TestFollowGoesOnWhenTheConnectionIsMadeAnew(t *testing.T) {
	s := startServer(t)
	r := newRelay(t, s.port)
	o, writer := open(t, r.url()), open(t, s.url())
	o.awaitUp(t)
	messages, ended := storestest.Follow(t, o.Log("a"), 0)
	var pos store.Pos
	for i := range 5 {
		pos = storestest.Add(t, writer.Log("a"), pos, fmt.Sprint(i))
		select {
		case err := <-ended: // the contract allows that
			t.Logf("Follow returns %v", err)
			return
		case m := <-messages:
			if string(m.Data) != fmt.Sprint(i) {
				t.Fatalf("%q is read", m.Data)
			}
		case <-time.After(within):
			t.Fatal("nothing comes")
		}
		r.lead(s.port)
	}
}

func TestProcessesHearOfEachOtherUntilTheConnectionIsLost(t *testing.T) {
	s := startServer(t)
	r := newRelay(t, s.port)
	o, other := open(t, r.url()), open(t, s.url())
	o.awaitUp(t)
	heard, ended := make(chan []byte, 1000), make(chan error, 1)
	go func() {
		ended <- o.Presence().Watch(t.Context(), func(data []byte) { heard <- data })
	}()
	large := bytes.Repeat([]byte("x"), 256<<10)
	storestest.Eventually(t, "what is announced is heard", func() bool {
		if err := other.Presence().Announce(large); err != nil {
			t.Error(err)
		}
		return len(heard) > 0
	})
	if data := <-heard; !bytes.Equal(data, large) {
		t.Errorf("%d bytes are heard", len(data))
	}
	r.lead("")
	if err := storestest.Next(t, ended); err == nil {
		t.Error("Watch returns no error")
	}
}

func TestCallsReturnWhenTheStoreIsClosedOrTheirContextIsDone(t *testing.T) {
	s := startServer(t)
	o := open(t, s.url())
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
			func() error { return l.Trim(ctx, pos) },
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
