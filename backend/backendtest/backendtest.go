// Package backendtest checks that a backend fulfills the contract in package backend, as testing/slogtest does for handlers
// of log/slog:
//
//	func TestBackend(t *testing.T) {
//		backendtest.Run(t, func(t *testing.T) backend.Backend {
//			return &clock.Clock{Interval: caddy.Duration(time.Millisecond)}
//		})
//	}
//
// [Run] checks what is the same for all backends: keys, cancellation, errors from the sink, reconnects, unknown ids, and
// goroutines that are left behind. Use a [Tape] to check which bytes your backend delivers.
package backendtest

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/seed-4dedbcea/caddy-sse/backend"
)

// patience is how long an upstream may take for anything that it must do at once. It is generous, for machines under load.
const patience = 30 * time.Second

// Run tests a backend in subtests of t. Each subtest calls newBackend once and binds GET requests for
// http://localhost/events. The requests have Caddy's placeholders.
//
// newBackend returns a backend that is ready for Bind: call its Provision method if it has one. Each time the upstream is
// opened, it must deliver at least one line feed within 30 seconds, even if it is an event stream. After that it may
// continue, fall silent or end. If newBackend starts something, such as a server, it must stop it in t.Cleanup.
func Run(t *testing.T, newBackend func(t *testing.T) backend.Backend) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, backend.Backend){
		"KeysOfEqualRequestsAreEqual":          equalKeys,
		"StreamDeliversUntilItsContextEnds":    deliversUntilCanceled,
		"StreamOfAnEndedContextReturns":        canceledBefore,
		"StreamReturnsWhenTheInputWantsNoMore": inputRefuses,
		"StreamReturnsWhenTheSinkIsNotOpened":  sinkRefuses,
		"StreamCanBeCalledAgain":               again,
		"StreamIgnoresAnIDItDoesNotKnow":       unknownID,
		"UpstreamsOfTwoRequestsAreIndependent": twoAtOnce,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t)
			leaks := goleak.IgnoreCurrent() // the servers of newBackend, and goroutines of other tests
			test(t, b)
			if err := goleak.Find(leaks); err != nil {
				t.Errorf("after Stream has returned: %v", err)
			}
		})
	}
}

// equalKeys binds the same request twice. Streams share an upstream if the keys are equal, so the key must not change.
func equalKeys(t *testing.T, b backend.Backend) {
	first, second := bind(t, b), bind(t, b)
	if first.Key() == "" {
		t.Error("Key is empty: it must identify the upstream")
	}
	if a, b := first.Key(), second.Key(); a != b {
		t.Errorf("two equal requests have the keys %q and %q", a, b)
	}
}

func deliversUntilCanceled(t *testing.T, b backend.Backend) {
	run := start(t, bind(t, b), "", new(Tape))
	run.waitLine()
	run.stop()
}

func canceledBefore(t *testing.T, b backend.Backend) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	run := startWith(ctx, t, bind(t, b), "", new(Tape))
	run.stop()
}

func inputRefuses(t *testing.T, b backend.Backend) {
	run := start(t, bind(t, b), "", &Tape{WriteErr: errRefused})
	run.waitEnd("the input's Write has returned an error")
	if !errors.Is(run.err, errRefused) {
		t.Errorf("Stream has returned %v, not the input's error", run.err)
	}
	run.stop()
}

func sinkRefuses(t *testing.T, b backend.Backend) {
	run := start(t, bind(t, b), "", &Tape{OpenErr: errRefused})
	if _, always := b.(backend.AlwaysShared); always {
		// One sender that is refused must not end the upstream for the others.
		run.stop()
		return
	}
	run.waitEnd("the sink's Open has returned an error")
	if !errors.Is(run.err, errRefused) {
		t.Errorf("Stream has returned %v, not the sink's error", run.err)
	}
	run.stop()
}

func again(t *testing.T, b backend.Backend) {
	upstream := bind(t, b)
	for range 3 {
		run := start(t, upstream, "", new(Tape))
		run.waitLine()
		run.stop()
	}
}

func unknownID(t *testing.T, b backend.Backend) {
	run := start(t, bind(t, b), "an-id-that-nobody-has-given", new(Tape))
	run.waitLine()
	run.stop()
}

func twoAtOnce(t *testing.T, b backend.Backend) {
	if _, always := b.(backend.AlwaysShared); always {
		return // there is one upstream, which is never opened twice at a time
	}
	first, second := start(t, bind(t, b), "", new(Tape)), start(t, bind(t, b), "", new(Tape))
	first.waitLine()
	second.waitLine()
	first.stop()
	second.stop()
}

// errRefused is returned by a Tape that refuses bytes.
var errRefused = errors.New("nobody wants more")

// bind binds a request that is prepared as in Caddy's server.
func bind(t *testing.T, b backend.Backend) backend.Upstream {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "http://localhost/events", nil)
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), new(caddyhttp.Server))
	upstream, err := b.Bind(r)
	if err != nil {
		t.Fatalf("Bind: %v", err)
	}
	return upstream
}

// run is a running call of Stream.
type run struct {
	t      *testing.T
	tape   *Tape
	cancel context.CancelFunc
	done   chan struct{}
	err    error // from Stream; valid after done is closed
}

func start(t *testing.T, upstream backend.Upstream, lastID string, tape *Tape) *run {
	return startWith(t.Context(), t, upstream, lastID, tape)
}

func startWith(ctx context.Context, t *testing.T, upstream backend.Upstream, lastID string, tape *Tape) *run {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	r := &run{t: t, tape: tape, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = upstream.Stream(ctx, lastID, tape)
		tape.close()
	}()
	t.Cleanup(func() { // late, so that goroutines that the upstream has left behind had time to misuse the tape
		for _, misuse := range tape.misuses() {
			t.Error(misuse)
		}
	})
	return r
}

// waitLine waits until a whole line has arrived.
func (r *run) waitLine() {
	r.t.Helper()
	select {
	case <-r.tape.line():
	case <-r.done:
		select {
		case <-r.tape.line():
		default:
			r.t.Errorf("Stream has returned %v before it delivered a line", r.err)
		}
	case <-time.After(patience):
		r.t.Errorf("no line has arrived within %s", patience)
	}
}

// waitEnd waits until Stream returns by itself.
func (r *run) waitEnd(why string) {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(patience):
		r.t.Errorf("%s, but Stream has not returned within %s", why, patience)
	}
}

// stop cancels Stream and waits for it.
func (r *run) stop() {
	r.t.Helper()
	r.cancel()
	r.waitEnd("its context has ended")
}
