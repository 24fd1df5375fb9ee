package share

import (
	"context"
	"encoding/binary"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/fleet"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

// publisher takes an upstream's records for all processes. It packs them and writes them to the store. The source gets them back from
// there.
type publisher struct {
	source *source
	writer *fleet.Writer
	ctx    context.Context // canceled when another process leads

	mu       sync.Mutex // held while the records of one read are packed
	server   *Server    // the newest config at the beginning of the read
	seq      uint64     // the number of the newest record, unless another process has an upstream too
	selector *mapping.Selector
	blank    bool   // the read has had heartbeats
	packed   []byte // scratch
}

// newPublisher returns the publisher for a source that starts to lead. The source must have applied everything in the store.
func newPublisher(ctx context.Context, s *source, w *fleet.Writer) *publisher {
	p := &publisher{source: s, writer: w, ctx: ctx, selector: s.config().Ending.Bind(caddy.NewReplacer().GetString)}
	s.mapping.Lock()
	defer s.mapping.Unlock()
	p.seq = s.seq
	return p
}

func (p *publisher) Begin() {
	p.mu.Lock()
	p.server = p.source.config()
}

func (p *publisher) Counts() *metrics.Meters { return p.server.report.Meters }

func (p *publisher) Record(rec *records.Record) error {
	p.seq++
	rec.Seq = p.seq
	if rec.Truncated {
		p.server.report.TooLarge(upstream.RecordTooLarge)
	}
	selected := p.selector.Select(rec)
	if selected == mapping.SelectedError {
		p.packed = append(append(p.packed[:0], packedFailure), rec.Text...)
		if err := p.add(true); err != nil {
			return err
		}
		failed := upstream.NewFailureRecord(rec)
		if p.server.Upstream.Shared { // as in a source
			p.server.report.Failed(failed)
			return nil
		}
		return failed
	}
	p.packed = packStored(p.packed[:0], rec)
	if err := p.add(true); err != nil {
		return err
	}
	if selected == mapping.SelectedEnd {
		return upstream.ErrLastRecord
	}
	return nil
}

// add passes on the packed entry.
func (p *publisher) add(numbered bool) error {
	return p.writer.Add(fleet.Entry{Data: p.packed, Numbered: numbered})
}

func (p *publisher) Skipped(why string) {
	p.seq++
	p.server.report.TooLarge(why)
	p.packed = packGap(p.packed[:0], frame.GapRecordTooLarge)
	_ = p.add(true) // Commit returns the error
}

// Blank is only for the clients of this process. Other processes send their own heartbeats.
func (p *publisher) Blank() { p.blank = true }

func (p *publisher) Retry(ms int64) {
	p.packed = binary.AppendUvarint(append(p.packed[:0], packedRetry), uint64(ms))
	_ = p.add(false)
}

// Position does nothing, as in a source.
func (p *publisher) Position([]byte) {}

func (p *publisher) Gap(reason string) {
	p.packed = packGap(p.packed[:0], reason)
	_ = p.add(false)
}

// once says that no other process may open the upstream again.
func (p *publisher) once() {
	p.packed = append(p.packed[:0], packedOnce)
	_ = p.add(false)
}

// Commit writes the packed entries to the store. It waits, without a lock, while the store is too far behind.
func (p *publisher) Commit() error {
	blank := p.blank
	p.blank = false
	if cap(p.packed) > maxScratch {
		p.packed = nil
	}
	p.source.note(p.seq, blank)
	p.mu.Unlock()
	return p.writer.Flush(p.ctx)
}

// maxScratch is the largest scratch buffer that is kept.
const maxScratch = 64 << 10

// note records the number of records from the upstream, and passes on its heartbeat.
func (s *source) note(received uint64, blank bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received = received
	if !blank {
		return
	}
	s.heartbeats.Add(1)
	for _, f := range s.feeds {
		f.frames.Wake()
	}
}

var _ upstream.Consumer = (*publisher)(nil)
