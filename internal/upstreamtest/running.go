package upstreamtest

import (
	"context"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/backend/backendtest"
)

// Running is a running call of Stream with a tape.
type Running struct {
	*backendtest.Tape
	Stop func()

	done chan struct{}
	err  error
}

// Run streams u until the test ends.
func Run(t testing.TB, u backend.Upstream, lastID string) *Running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &Running{Tape: new(backendtest.Tape), Stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = u.Stream(ctx, lastID, r.Tape)
	}()
	t.Cleanup(func() { cancel(); _ = r.Wait(t) })
	return r
}

// Wait waits for Stream and returns its result.
func (r *Running) Wait(t testing.TB) error {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(time.Minute):
		t.Fatal("Stream did not return")
	}
	return r.err
}

// WaitOpen waits until the upstream has opened its sink.
func (r *Running) WaitOpen(t testing.TB) {
	t.Helper()
	Eventually(t, func() bool { return len(r.Types()) > 0 }, func() string { return "the sink is not open" })
}

// Hears waits until this text was written to all inputs together.
func (r *Running) Hears(t testing.TB, want string) {
	t.Helper()
	Eventually(t, func() bool { return r.Text() == want }, func() string { return "have " + r.Text() + ", want " + want })
}

// Eventually waits until ok returns true. If that takes too long, the test fails with have.
func Eventually(t testing.TB, ok func() bool, have func() string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(have())
		}
	}
}

// LeavesNothing fails the test if do leaves goroutines or file descriptors behind.
func LeavesNothing(t testing.TB, do func()) {
	t.Helper()
	do() // things that are opened only once are open after this
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	goroutines, open := runtime.NumGoroutine(), descriptors()
	do()
	Eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines && descriptors() <= open }, func() string {
		stacks := make([]byte, 1<<20)
		return "goroutines or descriptors are left:\n" + string(stacks[:runtime.Stack(stacks, true)])
	})
}

// OpenAndStop opens an upstream so many times, and stops it each time after it has sent text.
func OpenAndStop(t testing.TB, u backend.Upstream, times int, text string) {
	t.Helper()
	for range times {
		r := Run(t, u, "")
		r.Hears(t, text)
		r.Stop()
		r.Wait(t)
	}
}
