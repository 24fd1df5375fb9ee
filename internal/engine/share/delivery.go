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

// delivery sends the events of a source to one stream.
//
// The source's pump delivers, while the request's goroutine waits for the end. If the client is slow, the request's goroutine delivers
// instead, where it does not delay other streams.
type delivery struct {
	*view
	stream     *stream.Stream
	subscriber *history.Subscriber
	opening    []byte

	calls
	failure error // the upstream's failure, from breakOff; guarded by the source's mu

	mu       sync.Mutex // held while delivering
	started  bool
	over     bool // no more writes
	err      error
	panicked any // the panic of an outer writer

	heard
}

// heard is the state of a client.
type heard struct {
	heartbeats uint64 // the source's heartbeats that were passed on
	wish       int64  // the source's retry that was passed on
	told       uint64 // the number of the record whose id the client has
	untold     int    // the bytes of the records after it

	isLive bool           // the live event was sent, or there is none
	liveAt history.Cursor // the position in the log after which the live event is sent
}

// calls are the signals that a delivery gets from others.
type calls struct {
	signal  chan struct{} // wakes the request's goroutine: it must stop, or deliver itself
	stopped atomic.Bool
	queued  atomic.Bool // deliver will be called for new entries
	alone   atomic.Bool // the request's goroutine delivers
	entered atomic.Bool // it has a source
}

// newDelivery returns a delivery without a source.
func newDelivery() *delivery { return &delivery{calls: calls{signal: make(chan struct{}, 1)}} }

// enter adds the stream of a request to a source.
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

// behind returns the number of events that were not sent to the client yet.
func (d *delivery) behind() int {
	if !d.entered.Load() {
		return 0
	}
	return d.subscriber.Behind()
}

// close leaves the source, which stays open for linger.
func (d *delivery) close(linger time.Duration) {
	d.source.exit(d)
	d.subscriber.Close()
	d.leave(linger)
}

// endErr returns the reason for the end of the delivery, unless the stream has ended it.
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

// Wake makes the delivery check for new entries.
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

// run delivers until the stream or the source ends. It returns the value of a panic in an outer writer, or nil.
func (d *delivery) run(client context.Context) (panicked any) {
	d.Wake()
	for !d.stopped.Load() {
		select {
		case <-d.signal:
			// Deliver even if the delivery is not alone: it may have been when it was woken, or the pump gave it away.
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
		d.panicked = catch(func() { d.err = d.open() }) // the client gets a response in any case
	}
	return d.panicked
}

// If a delivery takes longer than slow, its client is slow, or the machine is busy. If it takes less than quick, neither is.
const (
	slow  = stuckAfter
	quick = time.Millisecond
)

// deliver sends the new entries.
func (d *delivery) deliver() {
	began := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queued.Store(false) // deliver is called again for entries from here on
	if !d.over && d.panicked == nil {
		if d.panicked = catch(d.send); d.panicked != nil {
			d.stream.End(stream.EndClientGone)
			d.stop()
		}
	}
	const most = 8 << 10
	if cap(d.batch.Frames) > most {
		d.entries = nil // there are many streams, and they wait most of the time
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

// open starts the response, unless it was started early, and sends the opening.
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
			// A heartbeat that came before the subscriber was parked did not wake it.
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
	done := uint64(0) // the number of the last of these records
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

// tellPosition sends the client a newer id when the last event that it got is about to leave the history. Otherwise a client whose
// mapping rarely sends an event would get a gap each time it reconnects.
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
