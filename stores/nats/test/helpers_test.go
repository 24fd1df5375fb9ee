package nats_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-4dedbcea/caddy-sse/store"
	"github.com/seed-4dedbcea/caddy-sse/stores/nats"
)

// opened is a store that is open, with what it has reported.
type opened struct {
	store.Store
	reports chan error
}

// open opens a store. change may set options.
func open(t *testing.T, servers []*server, change ...func(*nats.Store)) opened {
	t.Helper()
	return openURLs(t, urls(servers), change...)
}

func openURLs(t *testing.T, urls []string, change ...func(*nats.Store)) opened {
	t.Helper()
	module := &nats.Store{URLs: urls}
	for _, f := range change {
		f(module)
	}
	if err := module.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	o := opened{reports: make(chan error, 1000)}
	var err error
	if o.Store, err = module.Open(func(err error) { o.reports <- err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// three makes a stream on three servers.
func three(s *nats.Store) { s.Replicas = 3 }

// await waits for a report of that kind.
func (o opened) await(t *testing.T, what string, right func(error) bool) error {
	t.Helper()
	var other []error
	for end := time.After(within); ; {
		select {
		case err := <-o.reports:
			if right(err) {
				return err
			}
			other = append(other, err)
		case <-end:
			t.Fatalf("it is not reported that %s, but: %v", what, other)
		}
	}
}

func (o opened) awaitUp(t *testing.T) {
	t.Helper()
	o.await(t, "NATS can be used", func(err error) bool { return err == nil })
}

func (o opened) awaitDown(t *testing.T) {
	t.Helper()
	o.await(t, "NATS is not there", func(err error) bool { return err != nil && !errors.Is(err, store.ErrRefused) })
}

func (o opened) awaitRefused(t *testing.T) error {
	t.Helper()
	return o.await(t, "it is refused", func(err error) bool { return errors.Is(err, store.ErrRefused) })
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not happen that %s", what)
		}
	}
}

// add appends a message, which must be accepted.
func add(t *testing.T, l store.Log, after store.Pos, data string) store.Pos {
	t.Helper()
	pos, err := l.Append(t.Context(), after, []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

// follow follows a log until the test ends. It returns the messages, and the error with which Follow returns.
func follow(t *testing.T, l store.Log, after store.Pos) (<-chan store.Message, <-chan error) {
	ctx, cancel := context.WithCancel(context.Background())
	messages, ended := make(chan store.Message, 100000), make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		ended <- l.Follow(ctx, after, func(m store.Message) error {
			messages <- m
			return nil
		})
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return messages, ended
}

// next returns the next message.
func next[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case value := <-c:
		return value
	case <-time.After(within):
		t.Fatal("nothing comes")
		panic("unreachable")
	}
}
