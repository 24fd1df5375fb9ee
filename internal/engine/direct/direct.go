package direct

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

// maxBatch is the size at which collected frames are written, even if more records have arrived together with them.
const maxBatch = 64 << 10

// Server serves streams that do not share their upstreams.
type Server struct {
	Upstream *upstream.Config
	Streams  *stream.Group
	Mapping  *mapping.Mapping
	Ending   *mapping.Ending // nil: no record ends the upstream
}

// Serve opens the upstream for this request alone and streams its records.
func (c *Server) Serve(w http.ResponseWriter, r *http.Request, upstream backend.Upstream) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	s := c.Streams.New(w, r, cancel)
	s.WatchClient()
	d := c.NewSink(s)
	stop := d.startAfter(c.Streams.OpenAfter)
	err := c.Upstream.Open(ctx, upstream, stream.LastEventID(r), d)
	stop()
	return d.Finish(err)
}

// ServeUnchanged opens the upstream for this request alone and streams its bytes as they are.
func (c *Server) ServeUnchanged(w http.ResponseWriter, r *http.Request, upstream backend.Upstream) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	s := c.Streams.New(w, r, cancel)
	s.WatchClient()
	return s.Finish(c.Upstream.Open(ctx, upstream, stream.LastEventID(r), &unchanged{s}))
}

// Sink sends the records of an upstream to the stream that the upstream was opened for. It implements backend.Sink.
type Sink struct {
	server *Server
	Stream *stream.Stream
	opening

	mu         sync.Mutex // held from Begin to Commit
	inputs     []*upstream.Input
	unfinished *records.Budget // shared by all inputs
	batch      mapping.Batch
	selector   *mapping.Selector
	seq        uint64
	blank      bool  // the upstream has sent a heartbeat since the last flush
	retry      int64 // 1 + the upstream's reconnection time in milliseconds, or 0 if none has come since the last flush
}

// NewSink returns the sink for a stream.
func (c *Server) NewSink(s *stream.Stream) *Sink {
	return &Sink{server: c, Stream: s}
}

// Open starts the client's response.
func (d *Sink) Open(contentType string) (backend.Input, error) {
	config := d.server.Upstream
	if err := config.CheckType(contentType); err != nil {
		return nil, err
	}
	if err := d.start(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unfinished == nil {
		d.unfinished = upstream.NewBudget()
	}
	in := upstream.NewInput(d, config.Options(contentType), d.unfinished)
	d.inputs = append(d.inputs, in)
	return in, nil
}

// The methods of upstream.Consumer.

func (d *Sink) Begin()                  { d.mu.Lock() }
func (d *Sink) Counts() *metrics.Meters { return d.server.Upstream.Report.Meters }

func (d *Sink) Record(rec *records.Record) error {
	d.seq++
	rec.Seq = d.seq
	if rec.Truncated {
		d.server.Upstream.Report.TooLarge(upstream.RecordTooLarge)
	}
	selected := d.selector.Select(rec)
	if selected == mapping.SelectedError {
		return upstream.NewFailureRecord(rec)
	}
	r := d.batch.Add(rec, nil)
	d.Counts().CountMapped(r)
	switch {
	case r.Outcome == mapping.Refused:
		return upstream.ErrRecordInvalid
	case selected == mapping.SelectedEnd:
		return upstream.ErrLastRecord
	}
	if len(d.batch.Frames) >= maxBatch {
		return d.send()
	}
	return nil
}

func (d *Sink) Skipped(why string) {
	d.seq++
	d.server.Upstream.Report.TooLarge(why)
	d.Gap(frame.GapRecordTooLarge)
}

func (d *Sink) Blank() { d.blank = true }

// Retry passes on the upstream's reconnection time, unless the config has one.
func (d *Sink) Retry(ms int64) {
	if d.server.Streams.Retry == 0 {
		d.retry = ms + 1
	}
}

// Position passes on an id without an event, so that the client reconnects with the same id as without us. An id that cannot be sent
// is counted with the next record, which has it too.
func (d *Sink) Position(id []byte) {
	if !d.batch.Mapper.GivesIDs() { // otherwise all ids come from the config
		d.batch.Position(id)
	}
}

func (d *Sink) Gap(reason string) { d.batch.Gap(reason, stream.LastEventID(d.Stream.Request)) }

func (d *Sink) Commit() error {
	defer d.mu.Unlock()
	return d.send()
}

func (d *Sink) send() error {
	b := &d.batch
	// At most one of each per flush: a kilobyte of gzip can be a megabyte of blank lines.
	if d.retry > 0 {
		b.Frames = eventstream.AppendRetry(b.Frames, time.Duration(d.retry-1)*time.Millisecond)
	}
	if d.blank {
		b.Frames = append(b.Frames, eventstream.Comment...)
	}
	d.blank, d.retry = false, 0
	if len(b.Frames) == 0 {
		return nil
	}
	err := d.Stream.Write(b.Frames, b.Events)
	b.Reset(4 * maxBatch) // there are many streams, but few large records
	return err
}

// Finish ends the stream after its upstream has ended with err, and returns the handler's error.
func (d *Sink) Finish(err error) error {
	return d.Stream.Finish(upstream.EndInputs(d.inputs, err))
}

var (
	_ backend.Sink      = (*Sink)(nil)
	_ upstream.Consumer = (*Sink)(nil)
)
