// Package ssetest has helpers for the tests in this repository: a parser of event streams that follows only the standard, clients
// for each protocol, a real Caddy in the test's own process, upstreams for it, and a check for goroutines that are left behind. Only
// tests import it. It does not import the sse handler, so that the handler's own tests can use it. A test that needs the handler in
// its Caddy imports the handler itself.
package ssetest

import (
	"testing"
	"time"
)

// Patience is the longest wait for a condition. It is generous, for machines under load. Only a test that fails waits so long.
const Patience = 30 * time.Second

// Within runs f. If f does not return within Patience, the test fails with what, and f continues to run.
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

// Wait polls until the condition is true. If that takes longer than Patience, the test fails with what.
func Wait(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting for %s after %s", what, Patience)
		}
	}
}
