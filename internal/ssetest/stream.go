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

// ErrOpen is returned by Stream.Err while the response has not ended.
var ErrOpen = errors.New("the stream is open")

// Stream is a live response. Its own goroutine decodes it and parses it as an event stream. Call the methods that wait from the test's
// goroutine. After Patience, they fail the test and show what has been received so far.
type Stream struct {
	Status int
	Proto  string // "HTTP/2.0"
	Header http.Header

	t      testing.TB
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	resume chan struct{} // closed by Resume; nil unless paused
	received
}

// received is the part of the response that was received so far.
type received struct {
	changed chan struct{} // closed and replaced at each change
	parser  Parser
	raw     []byte
	events  []Event
	next    int // the index of the event that Next will return
	err     error
}

// With sets a header of the request.
func With(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// LastEventID makes the request that of a client that reconnects with this id.
func LastEventID(id string) func(*http.Request) { return With("Last-Event-ID", id) }

// Get requests url as an EventSource would, with these options. It returns when the response's headers have arrived, whatever the
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

// Do is Get for a request from the test.
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

// Next waits for the next event and returns it. A timeout of 0 means Patience.
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

// WaitEvents waits for the first n events of the stream and returns them.
func (s *Stream) WaitEvents(n int) []Event {
	s.t.Helper()
	s.waitFor(Patience, fmt.Sprintf("%d events", n), func() bool { return len(s.events) >= n })
	return s.Events()[:n]
}

// WaitComments waits for the first n comments of the stream and returns them.
func (s *Stream) WaitComments(n int) []string {
	s.t.Helper()
	s.waitFor(Patience, fmt.Sprintf("%d comments", n), func() bool { return len(s.parser.Comments) >= n })
	return s.Comments()[:n]
}

// WaitLastEventID waits until id is the last event id, from an event or from a block with only an id.
func (s *Stream) WaitLastEventID(id string) {
	s.t.Helper()
	s.waitFor(Patience, fmt.Sprintf("last event id %q", id), func() bool { return s.parser.LastEventID == id })
}

// WaitEnd waits until the response has ended, and returns the result of Err.
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

// Err returns nil if the response has ended cleanly, ErrOpen if it has not ended, and another error if it was truncated or closed.
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Done is closed when the response has ended.
func (s *Stream) Done() <-chan struct{} { return s.done }

// Events returns the events so far.
func (s *Stream) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// Comments returns the comments so far.
func (s *Stream) Comments() []string { return s.State().Comments }

// State returns a copy of the parser's state: comments, last event id, retry.
func (s *Stream) State() Parser {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Parser{
		Comments: slices.Clone(s.parser.Comments), Ignored: slices.Clone(s.parser.Ignored),
		LastEventID: s.parser.LastEventID, Retry: s.parser.Retry, HasRetry: s.parser.HasRetry,
		line: slices.Clone(s.parser.line), block: block{open: s.parser.open},
	}
}

// Raw returns the decoded body so far.
func (s *Stream) Raw() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.raw)
}

// Pause makes the client stop reading after the present read, as a stalled client does. Data then piles up in the buffers between the
// client and the server.
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

// Close closes the stream as a client does that leaves. It returns when the stream's goroutine has ended.
func (s *Stream) Close() {
	s.cancel()
	s.Resume()
	<-s.done
}

// String shows what has been received so far, for the message of a failed test.
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

// waitFor waits for a condition on the data that mu guards. It stops waiting when the stream has ended.
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
