package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/bench/internal/record"
)

// stream describes a stream of records.
type stream struct {
	rate   float64 // records per second; 0: none, negative: full speed
	burst  int     // records per write
	size   int     // bytes per record
	events bool
}

// burst is the records of one write, in one framing. It is prepared, and only the numbers and times change.
type burst struct {
	bytes   []byte
	records [][]byte // parts of bytes
}

func newBurst(s stream, f framing) *burst {
	line := record.New(s.size)
	before, after := "", "\n"
	if f.events {
		before, after = "data: ", "\n\n"
	}
	perRecord := len(before) + len(line) + len(after)
	b := new(burst)
	if f.chunked {
		b.bytes = fmt.Appendf(b.bytes, "%x\r\n", perRecord*s.burst)
	}
	head := len(b.bytes)
	for range s.burst {
		b.bytes = append(b.bytes, before...)
		b.bytes = append(b.bytes, line...)
		b.bytes = append(b.bytes, after...)
	}
	for i := range s.burst {
		at := head + i*perRecord + len(before)
		b.records = append(b.records, b.bytes[at:at+len(line)])
	}
	if f.chunked {
		b.bytes = append(b.bytes, "\r\n"...)
	}
	return b
}

// stamp numbers the records from n on and gives all of them the time t.
func (b *burst) stamp(n int64, t time.Time) {
	for i, r := range b.records {
		record.Stamp(r, n+int64(i), t.UnixNano())
	}
}

// emit sends a stream to w.
func (s stream) emit(w io.Writer, f framing) {
	if s.rate == 0 {
		select {} // the connection's own reader closes it when the peer leaves
	}
	b := newBurst(s, f)
	next := time.Now()
	for n := int64(record.First); ; n += int64(s.burst) {
		b.stamp(n, time.Now())
		if _, err := w.Write(b.bytes); err != nil {
			return
		}
		if s.rate > 0 {
			next = next.Add(s.interval())
			time.Sleep(time.Until(next))
		}
	}
}

func (s stream) interval() time.Duration {
	return time.Duration(float64(s.burst) / s.rate * float64(time.Second))
}

// feed is a stream that all connections read, each from the time at which it was opened.
type feed struct {
	stream
	mu      sync.Mutex
	readers map[*reader]struct{}
}

// reader receives the time and the first number of each burst, and writes the burst in its own framing.
type reader struct{ bursts chan mark }

type mark struct {
	n int64
	t time.Time
}

// maxBehind is how many bursts a reader of the feed may lag before its connection is closed. So a slow reader never causes a gap, for
// which the server would be blamed.
const maxBehind = 4096

// newFeed returns a feed that starts at the first signal from begin.
func newFeed(ctx context.Context, s stream, begin <-chan os.Signal) *feed {
	f := &feed{stream: s, readers: make(map[*reader]struct{})}
	if s.rate > 0 {
		go func() {
			select {
			case <-begin:
				f.run(ctx)
			case <-ctx.Done():
			}
		}()
	}
	return f
}

func (f *feed) run(ctx context.Context) {
	next := time.Now()
	for n := int64(record.First); ctx.Err() == nil; n += int64(f.burst) {
		m := mark{n, time.Now()}
		f.mu.Lock()
		for r := range f.readers {
			select {
			case r.bursts <- m:
			default:
				close(r.bursts)
				delete(f.readers, r)
			}
		}
		f.mu.Unlock()
		next = next.Add(f.interval())
		time.Sleep(time.Until(next))
	}
}

func (f *feed) emit(w io.Writer, form framing) {
	r := &reader{bursts: make(chan mark, maxBehind)}
	f.mu.Lock()
	f.readers[r] = struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.readers, r)
		f.mu.Unlock()
	}()
	b := newBurst(f.stream, form)
	for m := range r.bursts {
		b.stamp(m.n, m.t)
		if _, err := w.Write(b.bytes); err != nil {
			return
		}
	}
}
