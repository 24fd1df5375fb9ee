package share

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/fleet"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stores"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
	"github.com/seed-4dedbcea/caddy-sse/store"
	"go.uber.org/zap"
)

// membership is a source's part in a fleet, which are the processes with the same source in the same store. It is zero without a store.
type membership struct {
	store  *stores.Connection
	member atomic.Pointer[fleet.Member] // nil before it has joined
	after  store.Pos                    // the place in the log after which the source begins

	ready   chan struct{} // closed once the source has what is in the store
	isReady atomic.Bool
	isNew   bool          // then: nobody has led it before; read after ready
	isPast  bool          // then: it had come to its end before
	begun   chan struct{} // closed once records can have ids, or none will come
	begin   sync.Once
	applied records.Record // scratch

	mayLead atomic.Bool // its upstream may be opened: a request that may do so has come, here or elsewhere
	held    atomic.Bool // somebody holds it
}

// logName returns the name of a source's log. It shows nothing of the key, which may have secrets.
func logName(key string) string {
	sum := sha256.Sum256([]byte(key))
	return strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
}

// joinFleet makes the source a member of its fleet until the source is closed.
func (s *source) joinFleet() {
	everyone := s.config().Upstream.Shared
	member := s.store.Join(logName(s.common), replica{s}, everyone, s.after)
	s.member.Store(member)
	<-s.ctx.Done()
	member.Leave()
	s.setReady(false)
	s.setBegun()
	s.store.Release()
}

// setReady notes that the source has what is in the store, or that its upstream has come to its end before.
func (s *source) setReady(isPast bool) {
	if s.isReady.Swap(true) {
		return
	}
	s.isNew, s.isPast = s.epochs.newest() == "", isPast
	close(s.ready)
}

// setBegun notes that records can have ids.
func (s *source) setBegun() { s.begin.Do(func() { close(s.begun) }) }

// replica is a source as a member of a fleet knows it.
type replica struct{ *source }

// Synced implements fleet.Source.
func (r replica) Synced() { r.setReady(false) }

// Missed implements fleet.Source.
func (r replica) Missed(last uint64) {
	s := r.source
	s.Begin()
	s.seq, s.missed = last, last
	s.records.Missed(last)
	for _, f := range s.taking {
		if f.mapper != nil {
			f.frames.Missed(last)
		}
	}
	_ = s.Commit()
}

// Opened implements fleet.Source.
func (r replica) Opened(epoch string, last uint64) {
	s := r.source
	oldest := s.records.Stats().OldestSeq
	if oldest == 0 {
		oldest = last + 1
	}
	s.epochs.begin(epoch, last, oldest)
	s.mayLead.Store(true)
	s.setBegun()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == isConnecting && s.publisher == nil {
		s.state = IsLive
	}
}

// Apply implements fleet.Source.
func (r replica) Apply(first uint64, entries func(yield func(fleet.Entry) bool)) {
	s := r.source
	s.Begin()
	s.seq = first - 1
	for e := range entries {
		s.apply(e, &s.applied)
	}
	_ = s.Commit()
}

// apply takes an entry from the store.
func (s *source) apply(e fleet.Entry, rec *records.Record) {
	if e.Numbered {
		s.seq++
	}
	var flags byte
	if len(e.Data) > 0 {
		flags = e.Data[0]
	}
	switch {
	case flags == packedFailure:
		rec.Text = e.Data[1:]
		s.skip(s.seq)
		s.publish()
		s.breakOff(upstream.NewFailureRecord(rec))
	case flags == packedRetry:
		if ms, width := binary.Uvarint(e.Data[1:]); width > 0 {
			s.Retry(int64(min(ms, maxRetry)))
		}
	case flags == packedOnce:
		s.once.Store(true)
	case !e.Numbered:
		reason, _ := unpack(e.Data, rec)
		s.control(s.seq+1, reason)
	default:
		rec.Seq = s.seq
		reason, isRecord := unpack(e.Data, rec)
		if !isRecord {
			s.control(s.seq, reason)
			break
		}
		if flags&packedEmptyID != 0 {
			rec.ID = []byte{}
		}
		s.take(rec)
	}
}

// maxRetry bounds an upstream's retry, in milliseconds, where another version has not.
const maxRetry = 1 << 40

// Gap implements fleet.Source. A client that resumes before that number gets the gap, too.
func (r replica) Gap(reason string, last uint64) {
	s := r.source
	s.Begin()
	at := max(last, s.seq)
	if at == s.seq {
		at++ // nothing has a number in it: the next record comes after it
	} else {
		s.seq = at
	}
	s.control(at, reason)
	_ = s.Commit()
}

// Position implements fleet.Source.
func (r replica) Position() fleet.Position {
	r.mapping.Lock()
	defer r.mapping.Unlock()
	return fleet.Position{LastID: slices.Clone(r.lastID), Own: r.resumes}
}

// SetPosition implements fleet.Source.
func (r replica) SetPosition(p fleet.Position) {
	r.mapping.Lock()
	defer r.mapping.Unlock()
	r.lastID, r.resumes = slices.Clone(p.LastID), p.Own
}

// Over implements fleet.Source.
func (r replica) Over(text string, at time.Time, place store.Pos) {
	s := r.source
	err := endOf(text)
	defer s.setBegun()
	defer s.setReady(true)
	if isEndedByHand(err) {
		s.endByHand(err, place)
		return
	}
	c := s.config()
	keep := c.Keep
	if !s.isReady.Load() { // it was over before this process came, by another process's clock
		keep = min(keep, keep-time.Since(at))
	}
	s.finish(c, err, keep, place)
}

// Reset implements fleet.Source: clients that return find another source, and get a gap.
func (r replica) Reset() {
	s := r.source
	s.Begin()
	s.control(s.seq+1, fleet.GapStore)
	_ = s.Commit()
	s.endByHand(errReset, 0)
	s.setReady(false)
}

// Lead implements fleet.Source.
func (r replica) Lead(ctx context.Context, w *fleet.Writer, resumes bool) (over bool, text string) {
	s := r.source
	if resumes && s.once.Load() {
		return true, textOf(errAskerIsGone)
	}
	p := newPublisher(ctx, s, w)
	s.lead(p)
	defer s.lead(nil)
	if s.once.Load() {
		p.Begin()
		p.once()
		_ = p.Commit()
	}
	if resumes && !s.continues() {
		c := s.config()
		c.report.Logger.Debug("the upstream does not continue where another process has left it", zap.String("backend", c.report.Backend))
		s.tellGap()
	}
	err, over := s.keepOpen(ctx)
	if !over {
		return false, ""
	}
	s.reportEnd(s.config(), err)
	return true, textOf(err)
}

// lead notes that this process has the upstream, or has it no more.
func (s *source) lead(p *publisher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publisher, s.changed = p, time.Time{}
	switch {
	case s.state == isFinished:
	case p == nil:
		s.state, s.reported, s.lastErr = IsLive, false, nil // as far as this process knows
	default:
		s.state, s.changed, s.received = isConnecting, time.Now(), p.seq
	}
}

// continues reports whether the upstream goes on where another process has left it, or says itself that it cannot. One that
// others push to says nothing: each process has its own.
func (s *source) continues() bool {
	s.mapping.Lock()
	none, hasID, own := s.seq == 0, len(s.lastID) > 0, s.resumes
	s.mapping.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server.Upstream.Shared || none { // without a record there is nothing to miss any after
		return true
	}
	switch u := s.upstream.(type) {
	case backend.Continuer:
		return hasID && u.Continues()
	case backend.Resumer:
		return hasID
	default:
		return hasID && own
	}
}

// Down implements fleet.Source.
func (r replica) Down() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.publisher == nil || r.changed.IsZero() {
		return 0
	}
	return time.Since(r.changed)
}

// Wants implements fleet.Source.
func (r replica) Wants() bool { return r.held.Load() && r.mayLead.Load() }

// HandsOver implements fleet.Source.
func (r replica) HandsOver() bool { return !r.once.Load() }

// TooLarge implements fleet.Source.
func (r replica) TooLarge() []byte { return packGap(nil, frame.GapRecordTooLarge) }

// isNeeded reports whether other processes want the upstream that this one has. They take it over if they can, once no config here names
// the store. The pool may be locked.
func (s *source) isNeeded() bool {
	if s.store == nil || caddy.Exiting() || !s.store.IsConfigured() && !s.once.Load() {
		return false
	}
	member := s.member.Load()
	return member != nil && member.IsNeeded()
}

var _ fleet.Source = replica{}
