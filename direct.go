package sse

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

// maxBatch is how many bytes of frames are gathered before they are written, however many records arrived
// together.
const maxBatch = 64 << 10

// directServer serves streams that have an upstream each.
type directServer struct {
	upstream *upstream.Config
	streams  *stream.Group
	mapping  *mapping.Mapping
}

// serve streams an upstream that is opened for this request alone.
func (c *directServer) serve(w http.ResponseWriter, r *http.Request, upstream Upstream) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	s := c.streams.New(w, r, cancel)
	s.WatchClient()
	d := c.newDirect(s)
	return d.finish(c.upstream.Open(ctx, upstream, stream.LastEventID(r), d))
}

// serveUnchanged streams an upstream's bytes as they are.
func (c *directServer) serveUnchanged(w http.ResponseWriter, r *http.Request, upstream Upstream) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	s := c.streams.New(w, r, cancel)
	s.WatchClient()
	return s.Finish(c.upstream.Open(ctx, upstream, stream.LastEventID(r), &unchanged{s}))
}

// direct takes the records of an upstream to the one stream that it was opened for. It is that upstream's Sink.
type direct struct {
	server *directServer
	stream *stream.Stream

	mu         sync.Mutex // held while the records of one read are taken
	inputs     []*upstream.Input
	unfinished *records.Budget // of all inputs
	batch      mapping.Batch
	seq        uint64
	quiet      bool  // the upstream's heartbeat came since the last flush
	wish       int64 // so did its retry, in milliseconds, and 1; 0 if it did not
}

func (c *directServer) newDirect(s *stream.Stream) *direct {
	return &direct{server: c, stream: s}
}

// Open starts the client's response.
func (d *direct) Open(contentType string) (Input, error) {
	config := d.server.upstream
	if err := config.CheckType(contentType); err != nil {
		return nil, err
	}
	if d.batch.Mapper == nil {
		d.batch.Mapper = d.server.mapping.Bind(argument.Lookup(d.stream.Request))
		if err := d.stream.Start(nil); err != nil {
			return nil, err
		}
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

func (d *direct) Begin()                  { d.mu.Lock() }
func (d *direct) Counts() *metrics.Meters { return d.server.upstream.Report.Meters }

func (d *direct) Record(rec *records.Record) error {
	d.seq++
	rec.Seq = d.seq
	if rec.Truncated {
		d.server.upstream.Report.TooLarge(upstream.RecordTooLarge)
	}
	r := d.batch.Add(rec, nil)
	d.Counts().CountMapped(r)
	if r.Outcome == mapping.Refused {
		return upstream.ErrRecordInvalid
	}
	if len(d.batch.Frames) >= maxBatch {
		return d.send()
	}
	return nil
}

func (d *direct) Skipped(why string) {
	d.seq++
	d.server.upstream.Report.TooLarge(why)
	d.Gap(frame.GapRecordTooLarge)
}

func (d *direct) Blank() { d.quiet = true }

// Retry passes on what the upstream says, unless the config says it already.
func (d *direct) Retry(ms int64) {
	if d.server.streams.Retry == 0 {
		d.wish = ms + 1
	}
}

// Position passes on an id that comes without an event, so that a client comes back with it as it would without us. One
// that cannot be sent is counted with the record that has it.
func (d *direct) Position(id []byte) {
	if !d.batch.Mapper.GivesIDs() { // else ids are the config's
		d.batch.Position(id)
	}
}

func (d *direct) Gap(reason string) { d.batch.Gap(reason, stream.LastEventID(d.stream.Request)) }

func (d *direct) Commit() error {
	defer d.mu.Unlock()
	return d.send()
}

func (d *direct) send() error {
	b := &d.batch
	// Once for a flush: a megabyte of blank lines is a kilobyte of gzip.
	if d.wish > 0 {
		b.Frames = eventstream.AppendRetry(b.Frames, time.Duration(d.wish-1)*time.Millisecond)
	}
	if d.quiet {
		b.Frames = append(b.Frames, eventstream.Comment...)
	}
	d.quiet, d.wish = false, 0
	if len(b.Frames) == 0 {
		return nil
	}
	err := d.stream.Write(b.Frames, b.Events)
	b.Reset(4 * maxBatch) // there are many streams, and few large records
	return err
}

// finish ends the stream after its upstream has ended with err, and returns the handler's error.
func (d *direct) finish(err error) error {
	return d.stream.Finish(upstream.EndInputs(d.inputs, err))
}

var (
	_ Sink              = (*direct)(nil)
	_ upstream.Consumer = (*direct)(nil)
)
