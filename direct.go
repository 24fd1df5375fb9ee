package sse

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// maxBatch is how many bytes of frames are gathered before they are written, however many records arrived
// together.
const maxBatch = 64 << 10

// direct takes the records of an upstream to the one stream that it was opened for. It is that upstream's Sink.
type direct struct {
	stream *stream
	mapper *mapping.Mapper

	mu         sync.Mutex // held while the records of one read are taken
	inputs     []*input
	unfinished *records.Budget // of all inputs
	seq        uint64
	out        []byte
	events     int
	lastID     []byte // of the last event that had one
	quiet      bool   // the upstream's heartbeat came since the last flush
	wish       int64  // so did its retry, in milliseconds, and 1; 0 if it did not
	err        error  // why the upstream was cancelled, if it was us
}

// Open starts the client's response.
func (d *direct) Open(contentType string) (Input, error) {
	h := d.stream.handler
	if err := h.checkType(contentType); err != nil {
		return nil, err
	}
	if d.mapper == nil {
		d.mapper = h.mapping.Bind(argument.Lookup(d.stream.request))
		if err := d.stream.start(nil); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unfinished == nil {
		d.unfinished = records.NewBudget(unfinishedSize)
	}
	in := newInput(d, h.framing.options(contentType), d.unfinished)
	d.inputs = append(d.inputs, in)
	return in, nil
}

func (d *direct) begin()                  { d.mu.Lock() }
func (d *direct) counts() *metrics.Meters { return d.stream.handler.meters }

func (d *direct) record(rec *records.Record) error {
	d.seq++
	rec.Seq = d.seq
	if rec.Truncated {
		d.stream.handler.warnTooLarge(tooLargeAlone)
	}
	var r mapping.Result
	d.out, r = d.mapper.Append(d.out, rec, nil)
	d.counts().CountMapped(r)
	switch r.Outcome {
	case mapping.Sent:
		d.events++
		if r.ID != nil {
			d.lastID = append(d.lastID[:0], r.ID...) // an empty one takes it back
		}
	case mapping.Refused:
		return errRecordInvalid
	}
	if len(d.out) >= maxBatch {
		return d.send()
	}
	return nil
}

func (d *direct) skipped(why string) {
	d.seq++
	d.stream.handler.warnTooLarge(why)
	d.gap(frame.GapRecordTooLarge)
}

func (d *direct) blank() { d.quiet = true }

// retry passes on what the upstream says, unless the config says it already.
func (d *direct) retry(ms int64) {
	if d.stream.handler.Retry == 0 {
		d.wish = ms + 1
	}
}

// position passes on an id that comes without an event, so that a client comes back with it as it would without us.
func (d *direct) position(id []byte) {
	if d.mapper.GivesIDs() {
		return // ids are the config's
	}
	out, ok := eventstream.AppendID(d.out, id)
	if !ok {
		return // it is counted with the record that has it
	}
	if len(id) == 0 {
		out = append(out, "id:\n"...)
	}
	d.out = append(out, '\n')
	d.lastID = append(d.lastID[:0], id...)
}

func (d *direct) gap(reason string) {
	g := frame.Gap{Reason: reason, LastEventID: string(d.lastID)}
	if len(d.lastID) == 0 {
		g.LastEventID = lastEventID(d.stream.request)
	}
	d.out = frame.AppendGap(d.out, g)
}

func (d *direct) commit() error {
	defer d.mu.Unlock()
	return d.send()
}

func (d *direct) send() error {
	// Once for a flush: a megabyte of blank lines is a kilobyte of gzip.
	if d.wish > 0 {
		d.out = eventstream.AppendRetry(d.out, time.Duration(d.wish-1)*time.Millisecond)
	}
	if d.quiet {
		d.out = append(d.out, eventstream.Comment...)
	}
	d.quiet, d.wish = false, 0
	if len(d.out) == 0 {
		return nil
	}
	err := d.stream.write(d.out, d.events)
	d.out, d.events = d.out[:0], 0
	if cap(d.out) > 4*maxBatch {
		d.out = nil // there are many streams, and few large records
	}
	return err
}

// fail ends the upstream because of what it said.
func (d *direct) fail(err error) {
	if d.err == nil {
		d.err = err
		d.stream.cancel()
	}
}

// finish ends the stream after its upstream has, with err, and returns the handler's error.
func (d *direct) finish(err error) error {
	s := d.stream
	if d.err != nil {
		err = d.err
	}
	clean := endedCleanly(err)
	for _, in := range d.inputs {
		if endErr := in.End(clean); clean && endErr != nil {
			clean, err = false, endErr
		}
	}
	if !s.open.Load() {
		s.finish(nil, 0)
		if d.mapper != nil {
			return nil // the response to HEAD is out
		}
		return d.refusal(err)
	}
	tail, events := s.conclude(err)
	s.finish(tail, events)
	return nil
}

// refusal is the response of a stream that has not come to be.
func (d *direct) refusal(err error) error {
	s := d.stream
	if err != nil && s.request.Context().Err() != nil {
		s.end(endClientGone)
	}
	if endedCleanly(err) {
		if !s.ended() {
			return nil
		}
		err = errStreamEnded
	}
	switch {
	case s.endReason() == endShutdown:
		s.w.Header().Set("Retry-After", "1")
		return caddyhttp.Error(http.StatusServiceUnavailable, failure.Plain(err)) // whatever status it had
	case s.ended():
		return caddyhttp.Error(499, failure.Plain(err)) // as reverse_proxy has it; nobody is there to read it
	}
	status := failure.Status(err)
	if status >= http.StatusBadGateway {
		s.warnUpstream(err)
	}
	var handlerError caddyhttp.HandlerError
	if errors.As(err, &handlerError) {
		return err
	}
	return caddyhttp.Error(status, err)
}

var (
	_ Sink     = (*direct)(nil)
	_ consumer = (*direct)(nil)
)
