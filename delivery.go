package sse

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/history"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// delivery takes what a source has to one stream: frames of a feed that others get, too, or, where the mapping
// depends on the request, records that are mapped for it alone.
//
// The source's pump delivers, while the request's own goroutine waits for the end. A stream whose client is slow
// delivers on that goroutine instead, where it is in nobody's way.
type delivery struct {
	source     *source
	handler    *Handler
	feed       *feed
	mapper     *mapping.Mapper // of a mapping that depends on the request
	subscriber *history.Subscriber
	stream     *stream
	share      *Share
	opening    []byte

	signal  chan struct{} // to the request's goroutine: stopped, or it is to deliver itself
	stopped atomic.Bool
	queued  atomic.Bool // it is going to look for what is new
	alone   atomic.Bool

	mu         sync.Mutex // held while delivering
	started    bool
	over       bool // nothing may be written any more
	heartbeats uint64
	wish       int64  // see source
	lastID     []byte // of the last event with an id, as far as it may be asked for
	err        error
	panicked   any // what a writer around ours has panicked with

	rec      records.Record
	told     uint64          // number of the record whose id the client has
	untold   int             // bytes of the records since then
	entries  []history.Entry // scratch
	out      []byte          // scratch
	fallback []byte          // scratch
}

// Wake has the delivery look for what is new.
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

// run delivers until the stream or the source ends. It returns what a writer has panicked with.
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
			d.stream.end(endClientGone)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	if !d.started {
		d.panicked = catch(func() { d.err = d.stream.start(d.opening) }) // a response all the same
	}
	return d.panicked
}

// A delivery that takes longer than slow is the fault of its client, or of a machine that has too much to do; one that
// takes less than quick is not.
const (
	slow  = stuckAfter
	quick = time.Millisecond
)

// deliver sends what is new.
func (d *delivery) deliver() {
	began := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queued.Store(false) // whatever comes from here on has it called again
	if !d.over && d.panicked == nil {
		if d.panicked = catch(d.send); d.panicked != nil {
			d.stream.end(endClientGone)
			d.stop()
		}
	}
	const kept = 8 << 10
	if cap(d.out) > kept {
		d.out, d.entries = nil, nil // there are many streams, and most of the time they wait
	}
	switch took := time.Since(began); {
	case took > slow:
		d.alone.Store(true)
	case took < quick && d.alone.Load():
		d.alone.Store(false)
	}
}

// catch returns what f panics with.
func catch(f func()) (panicked any) {
	defer func() { panicked = recover() }()
	f()
	return nil
}

func (d *delivery) send() {
	if !d.started {
		d.started = true
		if d.err = d.stream.start(d.opening); d.err != nil {
			d.stop()
			return
		}
	}
	for d.err == nil && !d.stream.ended() {
		// The upstream's heartbeat is not in its log: it would drive events out of the history.
		if heard := d.source.heartbeats.Load(); heard != d.heartbeats {
			d.heartbeats = heard
			if d.err = d.stream.write([]byte(eventstream.Comment), 0); d.err != nil {
				break
			}
		}
		if wish := d.source.wish.Load(); wish != d.wish {
			d.wish = wish
			if d.stream.handler.Retry == 0 {
				if d.err = d.stream.write(eventstream.AppendRetry(nil, time.Duration(wish-1)*time.Millisecond), 0); d.err != nil {
					break
				}
			}
		}
		var state history.State
		if d.mapper == nil {
			batch := d.subscriber.Next()
			if state = batch.State; state == history.Ready {
				d.err = d.stream.write(batch.Bytes, batch.Events)
				if d.share.Lag == lagSkip && len(batch.LastID) > 0 {
					d.lastID = append(d.lastID[:0], batch.LastID...)
				}
			}
		} else {
			state = d.deliverMapped()
		}
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
			if d.share.Lag != lagSkip {
				d.lag()
				return
			}
			d.stream.handler.meters.ClientsLagged.Inc()
			d.err = d.stream.write(frame.AppendGap(nil, frame.Gap{Reason: frame.GapLag, LastEventID: string(d.lastID), OldestID: d.oldestID()}), 0)
		}
	}
	d.stop()
}

// lag ends a stream that is behind the history.
func (d *delivery) lag() {
	if d.stream.end(endLag) {
		d.stream.handler.meters.ClientsLagged.Inc()
	}
}

// deliverMapped maps what is new for this stream alone.
func (d *delivery) deliverMapped() history.State {
	entries, state, _ := d.subscriber.NextEntries(d.entries[:0])
	d.entries, d.out = entries, d.out[:0]
	events, done := 0, uint64(0) // number of the last record of these
	for _, e := range entries {
		d.untold += len(e.Bytes)
		reason, isRecord := unpack(e, &d.rec)
		if !isRecord {
			d.out = frame.AppendGap(d.out, frame.Gap{Reason: reason, LastEventID: string(d.lastID)})
			continue
		}
		done = e.Seq
		d.fallback = d.source.appendID(d.fallback[:0], e.Seq)
		var r mapping.Result
		d.out, r = d.mapper.Append(d.out, &d.rec, d.fallback)
		d.handler.meters.CountMapped(r)
		switch r.Outcome {
		case mapping.Sent:
			events++
			d.lastID = append(d.lastID[:0], r.ID...)
			d.told, d.untold = e.Seq, 0
		case mapping.Refused:
			d.err = errRecordInvalid
			d.out = frame.AppendPosition(d.out, d.fallback) // as in feed.refuse
		}
		if d.err != nil {
			break
		}
	}
	d.tellPlace(done)
	if len(d.out) > 0 {
		if err := d.stream.write(d.out, events); err != nil {
			d.err = err
		}
	}
	return state
}

// tellPlace tells a client where its stream stands, once what it has been sent last is about to leave the history: else
// a client that the mapping rarely sends anything would be told of a gap each time it comes back.
func (d *delivery) tellPlace(seq uint64) {
	if d.err != nil || seq <= d.told {
		return
	}
	if 2*(seq-d.told) <= uint64(d.share.History) && 2*int64(d.untold) <= d.share.HistorySize {
		return
	}
	d.fallback = d.source.appendID(d.fallback[:0], seq)
	d.out = frame.AppendPosition(d.out, d.fallback)
	d.lastID = append(d.lastID[:0], d.fallback...)
	d.told, d.untold = seq, 0
}

var _ history.Waker = (*delivery)(nil)
