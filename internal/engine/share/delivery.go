package share

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/compress"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/history"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

// delivery takes what a source has to one stream.
//
// The source's pump delivers, while the request's own goroutine waits for the end. A stream whose client is slow
// delivers on that goroutine instead, where it is in nobody's way.
type delivery struct {
	*view
	stream     *stream.Stream
	subscriber *history.Subscriber
	opening    []byte

	calls
	failure error // what the upstream has said; guarded by the source's mu

	mu       sync.Mutex // held while delivering
	started  bool
	over     bool // nothing may be written any more
	err      error
	panicked any // what a writer around ours has panicked with

	heard
}

// heard is how far a client has come.
type heard struct {
	heartbeats uint64 // of the source, those that the client has been told
	wish       int64  // of the source, as the client has been told
	told       uint64 // number of the record whose id the client has
	untold     int    // bytes of the records since then

	isLive bool           // the client has been told that it has all that was kept, or is not to be told
	liveAt history.Cursor // the place up to which that is
}

// calls are the signals that a delivery gets from others.
type calls struct {
	signal  chan struct{} // to the request's goroutine: stopped, or it is to deliver itself
	stopped atomic.Bool
	queued  atomic.Bool // it is going to look for what is new
	alone   atomic.Bool // the request's goroutine delivers
	entered atomic.Bool // it has a source
}

// newDelivery returns a delivery that has no source yet.
func newDelivery() *delivery { return &delivery{calls: calls{signal: make(chan struct{}, 1)}} }

// enter has a source deliver to the stream of a request.
func (d *delivery) enter(v *view, from beginning, w http.ResponseWriter, r *http.Request) {
	d.view, d.opening = v, from.opening
	d.told, d.heartbeats = from.told, v.source.heartbeats.Load()
	d.isLive, d.liveAt = v.server.LiveFrame == nil, v.feed.frames.Tail(0)
	if d.stream == nil {
		d.makeStream(v.server, w, r)
	}
	d.subscriber = v.feed.frames.Subscribe(from.at, d)
	d.entered.Store(true)
	v.source.enter(d)
}

func (d *delivery) makeStream(c *Server, w http.ResponseWriter, r *http.Request) {
	d.stream = c.Streams.New(w, r, d.stop)
	d.stream.Behind = d.behind
}

// behind returns how many events the client has not been given yet.
func (d *delivery) behind() int {
	if !d.entered.Load() {
		return 0
	}
	return d.subscriber.Behind()
}

// close leaves the source, which is kept for linger.
func (d *delivery) close(linger time.Duration) {
	d.source.exit(d)
	d.subscriber.Close()
	d.leave(linger)
}

// endErr is why the delivery ended, unless its stream ended it.
func (d *delivery) endErr() error {
	d.source.mu.Lock()
	defer d.source.mu.Unlock()
	switch {
	case d.err != nil:
		return d.err
	case d.failure != nil:
		return d.failure
	case d.feed.failed.Load():
		return upstream.ErrRecordInvalid
	default:
		return d.source.over
	}
}

// Wake has the delivery look for new entries.
func (d *delivery) Wake() {
	switch {
	case d.queued.Swap(true):
	case d.alone.Load():
		d.notify()
	default:
		d.source.pump.push(d)
	}
}

func (d *delivery) notify() {
	select {
	case d.signal <- struct{}{}:
	default:
	}
}

// stop ends the delivery.
func (d *delivery) stop() {
	d.stopped.Store(true)
	d.notify()
}

// run delivers until the stream or the source ends. It returns the value that a writer has panicked with.
func (d *delivery) run(client context.Context) (panicked any) {
	d.Wake()
	for !d.stopped.Load() {
		select {
		case <-d.signal:
			// Not only if it is alone still: it may have been then, or the pump has given its round away.
			if !d.stopped.Load() {
				d.deliver()
			}
		case <-client.Done():
			d.stream.End(stream.EndClientGone)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	if !d.started {
		d.panicked = catch(func() { d.err = d.open() }) // a response all the same
	}
	return d.panicked
}

// A delivery that takes longer than slow is the fault of its client, or of a machine that has too much to do; one that
// takes less than quick is not.
const (
	slow  = stuckAfter
	quick = time.Millisecond
)

// deliver sends the new entries.
func (d *delivery) deliver() {
	began := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queued.Store(false) // an entry that comes from here on has deliver called again
	if !d.over && d.panicked == nil {
		if d.panicked = catch(d.send); d.panicked != nil {
			d.stream.End(stream.EndClientGone)
			d.stop()
		}
	}
	const most = 8 << 10
	if cap(d.batch.Frames) > most {
		d.entries = nil // there are many streams, and most of the time they wait
	}
	d.batch.Reset(most)
	switch took := time.Since(began); {
	case took > slow:
		d.alone.Store(true)
	case took < quick && d.alone.Load():
		d.alone.Store(false)
	}
}

// catch returns the value that f panics with, or nil.
func catch(f func()) (panicked any) {
	defer func() { panicked = recover() }()
	f()
	return nil
}

// open sends the opening, and what comes before it unless the client has that.
func (d *delivery) open() error {
	if d.stream.IsOpen() {
		return d.stream.Write(d.opening, 0)
	}
	return d.stream.Start(d.opening)
}

func (d *delivery) send() {
	if !d.started {
		d.started = true
		if d.err = d.open(); d.err != nil {
			d.stop()
			return
		}
	}
	for d.err == nil && !d.stream.Ended() {
		// The upstream's heartbeat is not in its log: it would drive events out of the history.
		if heard := d.source.heartbeats.Load(); heard != d.heartbeats {
			d.heartbeats = heard
			if d.err = d.stream.Write([]byte(eventstream.Comment), 0); d.err != nil {
				break
			}
		}
		if wish := d.source.wish.Load(); wish != d.wish {
			d.wish = wish
			if d.server.Streams.Retry == 0 {
				if d.err = d.stream.Write(eventstream.AppendRetry(nil, time.Duration(wish-1)*time.Millisecond), 0); d.err != nil {
					break
				}
			}
		}
		var state history.State
		if d.batch.Mapper == nil {
			batch := d.subscriber.Next()
			if state = batch.State; state == history.Ready {
				d.err = d.stream.WriteShared(&d.feed.compressed, pieceOf(batch), batch.Events)
				if d.server.SkipLag && len(batch.LastID) > 0 {
					d.batch.LastID = append(d.batch.LastID[:0], batch.LastID...)
				}
			}
		} else {
			state = d.deliverMapped()
		}
		d.tellLive(state)
		switch state {
		case history.Parked:
			// A heartbeat that came before it was parked has woken nobody.
			if d.err == nil && d.source.heartbeats.Load() == d.heartbeats && d.source.wish.Load() == d.wish {
				return
			}
		case history.Closed:
			d.stop()
			return
		case history.Lagged:
			if !d.server.SkipLag {
				d.lag()
				return
			}
			d.server.report.Meters.ClientsLagged.Inc()
			d.err = d.stream.Write(frame.AppendGap(nil, frame.Gap{Reason: frame.GapLag, LastEventID: string(d.batch.LastID), OldestID: d.oldestID()}), 0)
		}
	}
	d.stop()
}

// pieceOf returns the frames of a batch as a piece of the feed.
func pieceOf(b history.Batch) compress.Piece {
	return compress.Piece{Text: b.Context, Start: len(b.Context) - len(b.Bytes), From: uint64(b.From), To: uint64(b.To)}
}

// lag ends a stream that is behind the history.
func (d *delivery) lag() {
	if d.stream.End(stream.EndLag) {
		d.server.report.Meters.ClientsLagged.Inc()
	}
}

// deliverMapped maps the new records for this stream alone.
func (d *delivery) deliverMapped() history.State {
	entries, state, _ := d.subscriber.NextEntries(d.entries[:0])
	d.entries = entries
	d.batch.Reset(cap(d.batch.Frames))
	done := uint64(0) // number of the last record of these
	for _, e := range entries {
		d.untold += len(e.Bytes)
		reason, isRecord := unpackEntry(e, &d.rec)
		if !isRecord {
			d.batch.Gap(reason, "")
			continue
		}
		done = e.Seq
		d.fallback = d.source.epochs.appendID(d.fallback[:0], e.Seq)
		r := d.batch.Add(&d.rec, d.fallback)
		d.server.report.Meters.CountMapped(r)
		if r.Outcome == mapping.Sent {
			d.told, d.untold = e.Seq, 0
		} else if r.Outcome == mapping.Refused {
			d.err = upstream.ErrRecordInvalid
			d.batch.Position(d.fallback) // as in feed.refuse
			break
		}
	}
	d.tellPosition(done)
	if len(d.batch.Frames) > 0 {
		if err := d.stream.Write(d.batch.Frames, d.batch.Events); err != nil {
			d.err = err
		}
	}
	return state
}

// tellPosition tells a client where its stream stands, once the event that it was sent last is about to leave the history: else
// a client that the mapping rarely sends anything would be told of a gap each time it comes back.
func (d *delivery) tellPosition(seq uint64) {
	if d.err != nil || seq <= d.told {
		return
	}
	if 2*(seq-d.told) <= uint64(d.server.Kept.Count) && 2*d.untold <= d.server.Kept.Size {
		return
	}
	d.fallback = d.source.epochs.appendID(d.fallback[:0], seq)
	d.batch.Position(d.fallback)
	d.told, d.untold = seq, 0
}

var _ history.Waker = (*delivery)(nil)
