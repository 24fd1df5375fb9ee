package ssetest

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// NoLeaks checks after the test, and after its other cleanups, that there are only goroutines that existed when NoLeaks was called. So
// call it first. Goroutines that are ending have Patience.
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

// leaks waits until only goroutines from before are left.
func leaks(before goleak.Option, patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; {
		err := goleak.Find(before,
			// This goroutine keeps a lock fresh. It checks only every five seconds whether the lock was released.
			goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
		)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
