package fleet

import (
	"context"
	"errors"
	"sync"
)

// Bounds of what waits to be stored.
const (
	maxMessage = 512 << 10 // entries in one message, but for a single larger one
	maxPending = 4 << 20   // entries of one source, after which its upstream waits
)

// Writer takes a source's records for all members. Its entries are stored in the order of the calls to Add, many of them
// in one message.
type Writer struct {
	filled chan struct{} // something is there to be stored

	mu      sync.Mutex
	chunks  []*chunk
	storing bool // the first of them is being stored, so it does not change
	size    int
	changed chan struct{} // closed when something has been stored, or nothing is taken any more
	err     error         // nothing is taken any more
	over    bool          // the upstream has come to its end
	text    string        // what has gone wrong then
}

// chunk is the entries of one message.
type chunk struct {
	entries []byte
	count   uint64 // of those that are numbered
	all     int
}

func (c *chunk) add(e Entry) {
	c.entries = appendEntry(c.entries, e)
	c.all++
	if e.Numbered {
		c.count++
	}
}

// errDeposed ends a writer because another process leads.
var errDeposed = errors.New("another process leads the source")

func newWriter() *Writer {
	return &Writer{filled: make(chan struct{}, 1), changed: make(chan struct{})}
}

// Add adds an entry, of which it keeps no reference. It is stored after the next Flush.
func (w *Writer) Add(e Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	last := len(w.chunks) - 1
	if last < 0 || last == 0 && w.storing || len(w.chunks[last].entries)+len(e.Data) > maxMessage {
		w.chunks = append(w.chunks, new(chunk))
		last++
	}
	c := w.chunks[last]
	before := len(c.entries)
	c.add(e)
	w.size += len(c.entries) - before
	return nil
}

// Flush has the entries stored. It waits while too many of them are not, and returns an error if nothing is taken any more.
func (w *Writer) Flush(ctx context.Context) error { return w.wait(ctx, maxPending) }

// Settle is Flush, but waits until all entries are stored and applied.
func (w *Writer) Settle(ctx context.Context) error { return w.wait(ctx, 0) }

func (w *Writer) wait(ctx context.Context, most int) error {
	select {
	case w.filled <- struct{}{}:
	default:
	}
	for {
		w.mu.Lock()
		size, err, changed := w.size, w.err, w.changed
		w.mu.Unlock()
		if size <= most || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// next returns the entries of the next message, nil if there are none. They stay in place until stored or split is called.
// If there are none to come either, over is true.
func (w *Writer) next() (c *chunk, over bool, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.chunks) == 0 {
		return nil, w.over, w.text
	}
	w.storing = true
	return w.chunks[0], false, ""
}

// finish says that the upstream has come to its end, after the entries so far.
func (w *Writer) finish(text string) {
	w.mu.Lock()
	w.over, w.text = true, text
	w.mu.Unlock()
	select {
	case w.filled <- struct{}{}:
	default:
	}
}

// stored takes away the first message's entries.
func (w *Writer) stored() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.chunks) == 0 {
		return // it was closed meanwhile
	}
	w.size -= len(w.chunks[0].entries)
	w.chunks, w.storing = w.chunks[1:], false
	w.notify()
}

// split makes two messages of the first, which is too large for the store. If it is a single entry, replacement takes its
// place.
func (w *Writer) split(replacement []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.chunks) == 0 {
		return
	}
	former, rest := w.chunks[0], w.chunks[1:]
	w.storing = false
	var parts []*chunk
	if former.all == 1 {
		parts = []*chunk{new(chunk)}
		parts[0].add(Entry{Data: replacement, Numbered: former.count == 1})
	} else {
		parts = []*chunk{new(chunk), new(chunk)}
		var err error // of none, as these entries are our own
		n := 0
		for e := range eachEntry(former.entries, &err) {
			parts[min(n/((former.all+1)/2), 1)].add(e)
			n++
		}
	}
	w.size -= len(former.entries)
	for _, c := range parts {
		w.size += len(c.entries)
	}
	w.chunks = append(parts, rest...)
}

// close makes all calls return err. It returns the number of records that are not stored.
func (w *Writer) close(err error) (dropped uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0
	}
	w.err = err
	for _, c := range w.chunks {
		dropped += c.count
	}
	w.chunks, w.size = nil, 0
	w.notify()
	return dropped
}

// notify wakes all that wait for a change. w is locked.
func (w *Writer) notify() {
	close(w.changed)
	w.changed = make(chan struct{})
}
