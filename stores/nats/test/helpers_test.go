package nats_test

import (
	"errors"
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
