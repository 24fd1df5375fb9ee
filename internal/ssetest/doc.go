// Package ssetest is what the tests of this repository share: a reader of event streams that follows the standard and
// nothing else, clients of every protocol, a real Caddy in the test's own process, upstreams for it, and a check that
// nothing is left running. Only tests import it; it does not import the sse handler, so that the handler's own tests can
// use it: a test that wants the handler in its Caddy imports that itself.
package ssetest

import (
	"testing"
	"time"
)

// Patience bounds every wait for a condition: long enough for a loaded machine, since only a test that fails waits it out.
const Patience = 30 * time.Second

// Within runs f, which is over within Patience, or the test fails and names what it waited for. Nothing stops f then.
func Within(t testing.TB, what string, f func()) {
	t.Helper()
	over := make(chan struct{})
	go func() {
		defer close(over)
		f()
	}()
	select {
	case <-over:
	case <-time.After(Patience):
		t.Fatalf("still waiting for %s after %s", what, Patience)
	}
}

// Wait polls until condition holds, and fails the test, naming what it waited for, when that takes longer than Patience.
func Wait(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting for %s after %s", what, Patience)
		}
	}
}
