package sse

import (
	"go.uber.org/zap"

	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// tapeSink records what an upstream delivers.
type tapeSink struct {
	mu     sync.Mutex
	types  []string
	inputs []*tapeInput
	err    error // of each write
}

type tapeInput struct {
	sink   *tapeSink
	data   bytes.Buffer
	writes int
	ends   []bool
	gaps   int
}

func (s *tapeSink) Open(contentType string) (Input, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := &tapeInput{sink: s}
	s.types = append(s.types, contentType)
	s.inputs = append(s.inputs, in)
	return in, nil
}

func (in *tapeInput) Write(p []byte) (int, error) {
	in.sink.mu.Lock()
	defer in.sink.mu.Unlock()
	in.data.Write(p)
	in.writes++
	return len(p), in.sink.err
}

func (in *tapeInput) End(clean bool) error {
	in.sink.mu.Lock()
	defer in.sink.mu.Unlock()
	in.ends = append(in.ends, clean)
	return nil
}

func (*tapeInput) At(func([]byte, int64) []byte, int64) {}

func (in *tapeInput) Gap() error {
	in.sink.mu.Lock()
	defer in.sink.mu.Unlock()
	in.gaps++
	return nil
}

// texts are what the inputs were given.
func (s *tapeSink) texts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	texts := make([]string, len(s.inputs))
	for i, in := range s.inputs {
		texts[i] = in.data.String()
	}
	return texts
}

func (s *tapeSink) text() string { return strings.Join(s.texts(), "") }

// tallySink counts records made by the input that clients' records are made by.
type tallySink struct {
	mu               sync.Mutex
	records, tooLong int
}

func (s *tallySink) Open(string) (Input, error) {
	return newInput(s, records.Options{Format: records.Lines, MaxSize: 1 << 20}, nil), nil
}

func (s *tallySink) begin()                       { s.mu.Lock() }
func (s *tallySink) counts() *metrics.Meters      { return metrics.New("", "test", endReasons) }
func (s *tallySink) record(*records.Record) error { s.records++; return nil }
func (s *tallySink) skipped(string)               { s.tooLong++ }
func (*tallySink) blank()                         {}
func (*tallySink) retry(int64)                    {}
func (*tallySink) position([]byte)                {}
func (*tallySink) gap(string)                     {}
func (s *tallySink) commit() error                { s.mu.Unlock(); return nil }

// wantLittleMemory wants u, which says a line of 100 MiB and one more, to be read without ever holding the long one.
func wantLittleMemory(t *testing.T, u Upstream) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	sink := new(tallySink)
	if err := u.Stream(context.Background(), "", sink); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if sink.records != 1 || sink.tooLong != 1 {
		t.Errorf("%d records, %d too long", sink.records, sink.tooLong)
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 16<<20 {
		t.Errorf("allocated %d bytes", allocated)
	}
}

// newBackend is what a Caddyfile's backend becomes.
func newBackend(t *testing.T, text string) Backend {
	t.Helper()
	text = strings.ReplaceAll(text, "{query.", "{http.request.uri.query.") // as the sse directive's parser does
	name, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	info, err := caddy.GetModule(backendNamespace + "." + name)
	if err != nil {
		t.Fatal(err)
	}
	module := info.New()
	if err := module.(caddyfile.Unmarshaler).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
		t.Fatal(err)
	}
	fileKey.mu.Lock()
	fileKey.have = true // this context has no storage
	fileKey.mu.Unlock()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	if p, ok := module.(caddy.Provisioner); ok {
		if err := p.Provision(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return module.(Backend)
}

// newRequest is a client's request as Caddy's server hands it on.
func newRequest(target string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), new(caddyhttp.Server))
}

// newUpstream is a backend as a request to /?<query> finds it.
func newUpstream(t *testing.T, text, query string) Upstream {
	t.Helper()
	u, err := newBackend(t, text).Bind(newRequest("/?" + query))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// running is an upstream that streams.
type running struct {
	sink *tapeSink
	stop context.CancelFunc
	done chan struct{}
	err  error
}

func run(t *testing.T, u Upstream, lastID string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{sink: new(tapeSink), stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = u.Stream(ctx, lastID, r.sink)
	}()
	t.Cleanup(func() { cancel(); r.wait(t) })
	return r
}

func (r *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(time.Minute):
		t.Fatal("Stream did not return")
	}
	return r.err
}

// hears waits until all inputs together have been given this text.
func (r *running) hears(t *testing.T, want string) {
	t.Helper()
	eventually(t, func() bool { return r.sink.text() == want }, func() string { return "have " + r.sink.text() + ", want " + want })
}

func eventually(t *testing.T, ok func() bool, have func() string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(have())
		}
	}
}

// leavesNothing fails the test if do leaves goroutines or file descriptors.
func leavesNothing(t *testing.T, do func()) {
	t.Helper()
	do() // what is opened once and for all is open now
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	goroutines, open := runtime.NumGoroutine(), descriptors()
	do()
	eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines && descriptors() <= open }, func() string {
		stacks := make([]byte, 1<<20)
		return "goroutines or descriptors are left:\n" + string(stacks[:runtime.Stack(stacks, true)])
	})
}

// statusOf is the status of the response that a failure before the first record becomes.
func statusOf(err error) int {
	d := &direct{stream: newStream(&Handler{logger: zap.NewNop(), meters: metrics.New("", "test", endReasons)}, httptest.NewRecorder(), newRequest("/"), func() {})}
	defer openStreams.remove(d.stream)
	var handlerError caddyhttp.HandlerError
	if errors.As(d.refusal(err), &handlerError) {
		return handlerError.StatusCode
	}
	return 0
}
