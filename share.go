package sse

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/seed-4dedbcea/caddy-sse/internal/history"
)

// Resumer is what an Upstream implements that can itself go on after an event that a shared source's history no
// longer holds. Such a client gets an upstream of its own.
type Resumer interface {
	Upstream

	// CanResume is whether Stream could go on after lastID.
	CanResume(lastID string) bool
}

// serveShared streams a source that others may stream, too.
func (h *Handler) serveShared(w http.ResponseWriter, r *http.Request, upstream Upstream) error {
	var shareKey string
	if h.Share.Key != "" {
		repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		shareKey = repl.ReplaceAll(h.Share.Key, "")
	}
	src, opened := sources.acquire(h, upstream, shareKey)
	d := newDelivery(h, r, src)
	lastID := lastEventID(r)
	cursor, opening, lost := d.place(lastID, opened)
	if resumer, ok := upstream.(Resumer); ok && lost && resumer.CanResume(lastID) {
		d.close(0)
		return h.serveBackend(w, r, upstream)
	}

	s := newStream(h, w, r, d.Wake)
	s.behind = d.behind
	d.subscriber = d.feed.frames.Subscribe(cursor, d)
	delivered := false
	defer func() {
		if !delivered {
			s.end(endClientGone) // a writer around ours has panicked
		}
		tail, events := s.conclude(d.endErr())
		s.finish(tail, events)
		d.close(h.lingerAfter(s))
	}()
	if s.start(opening) == nil {
		d.run(s)
	}
	delivered = true
	return nil
}

// lingerAfter is how long the source is kept after this stream. The clients of a config that is reloaded come back
// later than others.
func (h *Handler) lingerAfter(s *stream) time.Duration {
	linger := time.Duration(h.Share.Linger)
	if s.endReason() == endShutdown && !caddy.Exiting() {
		base := max(time.Duration(h.Retry), time.Second)
		linger = max(linger, base+2*max(time.Duration(h.Drain), 0)+10*time.Second)
	}
	return linger
}

// delivery takes what a source has to one stream: frames of a feed that others get, too, or, where the mapping
// depends on the request, records that are mapped for it alone.
type delivery struct {
	source     *source
	feed       *feed
	mapper     *mapper // of a mapping that depends on the request
	subscriber *history.Subscriber
	wake       chan struct{}
	heartbeats uint64 // of the upstream's, that the client knows of
	share      *Share

	err error
	rec record

	entries  []history.Entry // scratch
	out      []byte          // scratch
	fallback []byte          // scratch
}

func newDelivery(h *Handler, r *http.Request, src *source) *delivery {
	d := &delivery{source: src, share: h.Share, wake: make(chan struct{}, 1), heartbeats: src.heartbeats.Load()}
	if h.perClient {
		d.mapper = h.templates.bind(lookup(r))
	}
	src.mu.Lock()
	defer src.mu.Unlock()
	d.feed = src.feedFor(h)
	d.feed.streams++
	return d
}

// Wake makes the delivery look for what is new, or that its stream has ended.
func (d *delivery) Wake() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *delivery) behind() int { return d.subscriber.Behind() }

// place finds where in the history the stream begins, and the block that it opens with: an id, so that a client
// that sees no event resumes from there, and what it has lost.
func (d *delivery) place(lastID string, opened bool) (at history.Cursor, opening []byte, lost bool) {
	if lastID != "" {
		var found bool
		at, found = d.find(lastID)
		lost = !found
	} else {
		at = d.feed.frames.Tail(d.share.Replay)
	}
	if opened && (lost || lastID == "") {
		at = 0 // even if there is more already than the history keeps
	}
	opening = appendPlace(nil, d.standing(at))
	if lost {
		opening = appendGap(opening, gap{Reason: gapHistory, LastEventID: lastID, OldestID: d.oldestID()})
	}
	return at, opening, lost
}

// find finds the place after the event with that id.
func (d *delivery) find(id string) (at history.Cursor, ok bool) {
	if seq, ok := d.source.seqOf(id); ok {
		return d.feed.frames.AfterSeq(seq)
	}
	if d.mapper == nil {
		return d.feed.frames.AfterID(id)
	}
	return d.findMapped(id)
}

// findMapped is history.Log.AfterID for ids that only this stream's mapping gives.
func (d *delivery) findMapped(id string) (at history.Cursor, ok bool) {
	place := d.feed.frames.Oldest()
	at = place
	reader := d.feed.frames.Subscribe(place, idle{})
	defer reader.Close()
	for same := false; ; {
		var state history.State
		d.entries, state, _ = reader.NextEntries(d.entries[:0])
		if state != history.Ready {
			return at, ok && state != history.Lagged
		}
		for _, e := range d.entries {
			place++
			if _, isRecord := unpack(e, &d.rec); !isRecord {
				continue
			}
			before := same
			if same = string(d.mapper.idOf(&d.rec)) == id; same && !before {
				at, ok = place, true
			}
		}
	}
}

// standing is the id of the last event before that place.
func (d *delivery) standing(at history.Cursor) []byte {
	id, seq := d.feed.frames.Before(at)
	if id != "" {
		return []byte(id)
	}
	return d.source.appendID(nil, seq)
}

func (d *delivery) oldestID() string {
	stats := d.feed.frames.Stats()
	if stats.Events == 0 {
		return ""
	}
	if stats.OldestID != "" {
		return stats.OldestID
	}
	return string(d.source.appendID(nil, stats.OldestSeq))
}

// run delivers until the stream or the source ends.
func (d *delivery) run(s *stream) {
	for !s.ended() {
		var state history.State
		if d.mapper == nil {
			batch := d.subscriber.Next()
			if state = batch.State; state == history.Ready {
				d.err = s.write(batch.Bytes, batch.Events)
			}
		} else {
			state = d.runMapped(s)
		}
		switch {
		case d.err != nil || state == history.Closed:
			return
		case state == history.Parked:
			d.wait(s)
		case state == history.Lagged:
			clientsLagged.Inc()
			if d.share.Lag != lagSkip {
				s.end(endLag)
				return
			}
			d.err = s.write(appendGap(nil, gap{Reason: gapLag, OldestID: d.oldestID()}), 0)
		}
	}
}

// wait waits until there is more to deliver, or the stream has ended. The upstream's heartbeat is not in its log: it
// would drive events out of the history.
func (d *delivery) wait(s *stream) {
	const kept = 8 << 10
	if cap(d.out) > kept {
		d.out, d.entries = nil, nil // there are many streams, and most of the time they wait
	}
	<-d.wake
	if heard := d.source.heartbeats.Load(); heard != d.heartbeats {
		d.heartbeats = heard
		d.err = s.write([]byte(comment), 0)
	}
}

// runMapped maps what is new for this stream alone.
func (d *delivery) runMapped(s *stream) history.State {
	entries, state, _ := d.subscriber.NextEntries(d.entries[:0])
	d.entries, d.out = entries, d.out[:0]
	events := 0
	for _, e := range entries {
		block, isRecord := unpack(e, &d.rec)
		if !isRecord {
			d.out = append(d.out, block...)
			continue
		}
		d.fallback = d.source.appendID(d.fallback[:0], e.Seq)
		var v verdict
		d.out, _, v = d.mapper.appendFrame(d.out, &d.rec, d.fallback)
		switch v {
		case isSent:
			events++
		case isRefused:
			d.err = errRecordInvalid
			d.out = appendPlace(d.out, d.fallback) // as in feed.refuse
		}
		if d.err != nil {
			break
		}
	}
	if len(d.out) > 0 {
		if err := s.write(d.out, events); err != nil {
			d.err = err
		}
	}
	return state
}

// endErr is why the delivery ended, unless its stream ended it.
func (d *delivery) endErr() error {
	d.source.mu.Lock()
	defer d.source.mu.Unlock()
	switch {
	case d.err != nil:
		return d.err
	case d.feed.err != nil:
		return d.feed.err
	default:
		return d.source.over
	}
}

// close leaves the source, which is kept for linger.
func (d *delivery) close(linger time.Duration) {
	if d.subscriber != nil {
		d.subscriber.Close()
	}
	sources.release(d.source, d.feed, linger)
}
