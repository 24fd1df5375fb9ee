package ssetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// ErrOpen is what Stream.Err returns while the response has not ended.
var ErrOpen = errors.New("the stream is open")

// A Stream is a live response that a goroutine of its own decodes and reads as an event stream. Its waiting methods fail the test,
// showing what has come so far, after Patience; they belong to the test's goroutine.
type Stream struct {
	Status int
	Proto  string // "HTTP/2.0"
	Header http.Header

	t      testing.TB
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	resume chan struct{} // reading waits for its close; nil unless paused
	received
}

// received is what has come of the response so far.
type received struct {
	changed chan struct{} // closed and replaced whenever something here changes
	parser  Parser
	raw     []byte
	events  []Event
	next    int // the first event that Next has not returned
	err     error
}

// With sets a request header field.
func With(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// LastEventID makes the request one of a client that reconnects.
func LastEventID(id string) func(*http.Request) { return With("Last-Event-ID", id) }

// Get opens url as an EventSource would, changed by options, and returns when the response header is there, whatever its
// status. The stream is closed when the test ends.
func Get(t testing.TB, client *http.Client, url string, options ...func(*http.Request)) *Stream {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Cache-Control", "no-store")
	for _, option := range options {
		option(r)
	}
	return Do(t, client, r)
}

// Do is Get for a request made by the test.
func Do(t testing.TB, client *http.Client, r *http.Request) *Stream {
	t.Helper()
	ctx, cancel := context.WithCancel(r.Context())
	slow := time.AfterFunc(Patience, cancel)
	response, err := client.Do(r.WithContext(ctx))
	if err != nil {
		cancel()
		t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	if !slow.Stop() {
		cancel()
		_ = response.Body.Close()
		t.Fatalf("%s %s: no response within %s", r.Method, r.URL, Patience)
	}
	s := &Stream{
		Status: response.StatusCode, Proto: response.Proto, Header: response.Header,
		t: t, cancel: cancel, done: make(chan struct{}),
		received: received{changed: make(chan struct{}), err: ErrOpen},
	}
	go s.read(Decoded(response))
	t.Cleanup(s.Close)
	return s
}

func (s *Stream) read(body io.ReadCloser) {
	defer close(s.done)
	defer body.Close()
	buffer := make([]byte, 32<<10)
	for {
		s.mu.Lock()
		resume := s.resume
		s.mu.Unlock()
		if resume != nil {
			<-resume
		}
		n, err := body.Read(buffer)
		s.mu.Lock()
		s.raw = append(s.raw, buffer[:n]...)
		s.events = append(s.events, s.parser.Feed(buffer[:n])...)
		if err == io.EOF {
			s.err = nil
		} else if err != nil {
			s.err = err
		}
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Next returns the next event that it has not returned yet; a timeout of 0 means Patience.
func (s *Stream) Next(timeout time.Duration) Event {
	s.t.Helper()
	if timeout == 0 {
		timeout = Patience
	}
	s.waitFor(timeout, "another event", func() bool { return len(s.events) > s.next })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	return s.events[s.next-1]
}

// WaitEvents waits until n events have come since the stream opened, and returns these n.
func (s *Stream) WaitEvents(n int) []Event {
	s.t.Helper()
	s.waitFor(Patience, fmt.Sprintf("%d events", n), func() bool { return len(s.events) >= n })
	return s.Events()[:n]
}

// WaitComments waits until n comments have come since the stream opened, and returns these n.
func (s *Stream) WaitComments(n int) []string {
	s.t.Helper()
	s.waitFor(Patience, fmt.Sprintf("%d comments", n), func() bool { return len(s.parser.Comments) >= n })
	return s.Comments()[:n]
}

// WaitLastEventID waits until id is the last event ID, by an event or an id-only block.
func (s *Stream) WaitLastEventID(id string) {
	s.t.Helper()
	s.waitFor(Patience, fmt.Sprintf("last event id %q", id), func() bool { return s.parser.LastEventID == id })
}

// WaitEnd waits until the response has ended and returns how, like Err.
func (s *Stream) WaitEnd() error {
	s.t.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	select {
	case <-s.done:
	case <-deadline.C:
		s.t.Fatalf("the stream has not ended within %s\n%s", Patience, s)
	}
	return s.Err()
}

// Err tells how the response ended: nil cleanly, ErrOpen not yet, any other error truncated, or by Close.
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Done is closed when the response has ended.
func (s *Stream) Done() <-chan struct{} { return s.done }

// Events returns the events that have come so far.
func (s *Stream) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// Comments returns the comments that have come so far.
func (s *Stream) Comments() []string { return s.State().Comments }

// State returns a copy of what the parser knows by now: comments, last event ID, retry.
func (s *Stream) State() Parser {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Parser{
		Comments: slices.Clone(s.parser.Comments), Ignored: slices.Clone(s.parser.Ignored),
		LastEventID: s.parser.LastEventID, Retry: s.parser.Retry, HasRetry: s.parser.HasRetry,
		line: slices.Clone(s.parser.line), block: block{open: s.parser.open},
	}
}

// Raw returns the body as it has come so far, without its content coding.
func (s *Stream) Raw() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.raw)
}

// Pause makes the client stop reading, as one that is stalled, once what it is reading now has come. Data then piles up
// in the buffers between it and the server.
func (s *Stream) Pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resume == nil {
		s.resume = make(chan struct{})
	}
}

// Resume ends Pause.
func (s *Stream) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resume != nil {
		close(s.resume)
		s.resume = nil
	}
}

// Close leaves the stream as a client does that goes away, and returns when its reader has ended.
func (s *Stream) Close() {
	s.cancel()
	s.Resume()
	<-s.done
}

// String shows what has come so far, for a test that fails.
func (s *Stream) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d, %v\n%d events, comments %q, last event id %q, %d bytes", s.Proto, s.Status, s.err,
		len(s.events), s.parser.Comments, s.parser.LastEventID, len(s.raw))
	const shown = 2000
	if from := max(0, len(s.raw)-shown); from > 0 {
		fmt.Fprintf(&b, ", the last %d:\n…%q", shown, s.raw[from:])
	} else {
		fmt.Fprintf(&b, ":\n%q", s.raw)
	}
	return b.String()
}

// waitFor waits for a condition on what mu guards. A stream that has ended will not fulfil it any more.
func (s *Stream) waitFor(timeout time.Duration, what string, condition func() bool) {
	s.t.Helper()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for {
		s.mu.Lock()
		met, ended, changed := condition(), s.err != ErrOpen, s.changed
		s.mu.Unlock()
		if met {
			return
		}
		if ended {
			s.t.Fatalf("the stream ended while waiting for %s\n%s", what, s)
		}
		select {
		case <-changed:
		case <-deadline.C:
			s.t.Fatalf("no %s within %s\n%s", what, timeout, s)
		}
	}
}
