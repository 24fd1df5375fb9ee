package ssetest

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// NoLeaks checks, when the test and its other cleanups are over, that no goroutine is left that was not there when
// NoLeaks was called; so it comes first in a test. What ends by itself gets Patience to do so.
func NoLeaks(t testing.TB) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		t.Helper()
		if err := leaks(before, Patience); err != nil {
			t.Errorf("goroutines left running: %v", err)
		}
	})
}

// leaks waits until no goroutine is left but those known before.
func leaks(before goleak.Option, patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; {
		err := goleak.Find(before,
			// Looks every five seconds whether the lock it keeps fresh has been released, and ends then.
			goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
		)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
