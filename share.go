package sse

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/history"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
)

// takeLastEventID moves the id of the last event from the query to the header, so that what is left of the URL tells
// resources apart, and not those who come back to them from those who are new.
func takeLastEventID(r *http.Request) *http.Request {
	id := lastEventID(r)
	query := withoutLastEventID(r.URL.RawQuery)
	if query == r.URL.RawQuery {
		return r
	}
	r = withHeader(r.Context(), r)
	r.Header.Set("Last-Event-ID", id)
	r.URL.RawQuery = query // in place, as rewriting handlers do, so that placeholders see it
	hideFromOriginal(r)
	return r
}

// hideFromOriginal gives the placeholders of the original URI the values that they have without the id. The original
// itself cannot be changed for those who hold it already.
func hideFromOriginal(r *http.Request) {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok {
		return
	}
	uri := *original.URL
	uri.RawQuery = withoutLastEventID(uri.RawQuery)
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	repl.Set("http.request.orig_uri", uri.RequestURI())
	repl.Set("http.request.orig_uri.query", uri.RawQuery)
	prefixed := uri.RawQuery
	if prefixed != "" {
		prefixed = "?" + prefixed
	}
	repl.Set("http.request.orig_uri.prefixed_query", prefixed)
}

// withoutLastEventID takes that parameter out of a query, and leaves the others as they are.
func withoutLastEventID(query string) string {
	parameters := slices.DeleteFunc(strings.Split(query, "&"), func(parameter string) bool {
		name, _, _ := strings.Cut(parameter, "=")
		name, err := url.QueryUnescape(name)
		return err == nil && name == lastEventIDParameter
	})
	return strings.Join(parameters, "&")
}

// serveShared streams a source that others may stream, too.
func (h *Handler) serveShared(w http.ResponseWriter, r *http.Request, upstream Upstream) error {
	shareKey, err := h.Share.key.Expand(r)
	if err != nil {
		return err
	}
	lastID := lastEventID(r)
	d, opened, err := h.joinSource(r, upstream, h.sourceKey(upstream, shareKey), lastID)
	if err != nil {
		w.Header().Set("Retry-After", "5")
		return h.refuse(r, metrics.RefusedMaxSources, http.StatusServiceUnavailable, err)
	}
	src := d.source
	cursor, opening, lost := d.place(lastID, opened)
	if resumer, ok := upstream.(Resumer); ok && lost && resumer.CanResume(lastID) {
		d.close(0)
		return h.serveBackend(w, r, upstream)
	}

	s := newStream(h, w, r, d.stop)
	s.behind = d.behind
	d.stream, d.opening = s, opening
	d.subscriber = d.feed.frames.Subscribe(cursor, d)
	src.enter(d)
	panicked := d.run(r.Context())
	tail, events := s.conclude(d.endErr())
	s.finish(tail, events)
	d.close(h.lingerAfter(s))
	if panicked != nil {
		panic(panicked)
	}
	return nil
}

// joinSource finds the source that has the client's last event, even if its upstream has ended, or else the one that is
// open, or opens one.
func (h *Handler) joinSource(r *http.Request, upstream Upstream, key, lastID string) (d *delivery, opened bool, err error) {
	if lastID != "" {
		for _, src := range sources.candidates(h, key) {
			candidate := newDelivery(h, r, src)
			if d == nil {
				if _, ok := candidate.find(lastID); ok {
					d = candidate
					continue
				}
			}
			candidate.close(0)
		}
		if d != nil {
			d.source.adopt(h, upstream)
			return d, false, nil
		}
	}
	src, opened, err := sources.acquire(h, upstream, key)
	if err != nil {
		return nil, false, err
	}
	return newDelivery(h, r, src), opened, nil
}

// lingerAfter is how long the source is kept after this stream. The clients of a config that is reloaded come back
// later than others. A source that is always shared is open for as long as a config has it, and no longer.
func (h *Handler) lingerAfter(s *stream) time.Duration {
	if alwaysShared(h.backend) {
		return 0
	}
	linger := time.Duration(h.Share.Linger)
	if s.endReason() == endShutdown && !caddy.Exiting() {
		base := max(time.Duration(h.Retry), time.Second)
		linger = max(linger, base+2*max(time.Duration(h.Drain), 0)+10*time.Second)
	}
	return linger
}

func newDelivery(h *Handler, r *http.Request, src *source) *delivery {
	d := &delivery{source: src, handler: h, share: h.Share, signal: make(chan struct{}, 1), heartbeats: src.heartbeats.Load()}
	if h.perClient {
		d.mapper = h.mapping.Bind(argument.Lookup(r))
	}
	d.feed = src.feedFor(h, 1)
	return d
}

func (d *delivery) behind() int { return d.subscriber.Behind() }

// place finds where in the history the stream begins, and what it opens with: what the client has lost, and an id,
// so that a client that sees no event resumes from there.
func (d *delivery) place(lastID string, opened bool) (at history.Cursor, opening []byte, lost bool) {
	if lastID != "" {
		var found bool
		at, found = d.find(lastID)
		lost = !found
		d.lastID = d.canonical(lastID)
	} else {
		at = d.tail(d.share.Replay)
	}
	if opened && (lost || lastID == "") {
		at = 0 // even if there is more already than the history keeps
	}
	if lost || lastID == "" {
		d.lastID = d.standing(at)
	}
	d.told = d.feed.frames.Number(at)
	if lost { // before the id: a client that is cut off between the two resumes there, and must know
		opening = frame.AppendGap(nil, frame.Gap{Reason: frame.GapHistory, LastEventID: lastID, OldestID: d.oldestID()})
	}
	opening = frame.AppendPosition(opening, d.lastID)
	return at, opening, lost
}

// tail is history.Log.Tail, with the events that this stream's mapping makes.
func (d *delivery) tail(replay int) (at history.Cursor) {
	if d.mapper == nil || replay == 0 {
		return d.feed.frames.Tail(replay)
	}
	var events []history.Cursor
	d.each(func(place history.Cursor) bool {
		if _, sent := d.mapped(); sent {
			events = append(events, place)
		}
		return true
	})
	if len(events) == 0 {
		return d.feed.frames.Tail(0)
	}
	return events[max(0, len(events)-replay)]
}

// find finds the place after the event with that id.
func (d *delivery) find(id string) (at history.Cursor, ok bool) {
	if seq, ok := d.source.seqOf(id); ok {
		return d.feed.frames.AfterSeq(seq)
	}
	if d.mapper != nil {
		at, ok = d.findMapped(id)
	} else {
		at, ok = d.feed.frames.AfterID(id)
	}
	if ok || d.handler.ID != "" || d.feed.frames.HasID(id) {
		return at, ok
	}
	// The client may have the event from the mapping of an earlier config, while the one of now leaves it out.
	if seq, ok := d.source.seqOfUpstreamID(id); ok {
		return d.feed.frames.AfterSeq(seq)
	}
	return at, false
}

// findMapped is history.Log.AfterID for ids that only this stream's mapping gives.
func (d *delivery) findMapped(id string) (at history.Cursor, ok bool) {
	oldest := d.feed.frames.Oldest()
	runs, within := 0, false
	whole := d.each(func(place history.Cursor) bool {
		given, sent := d.mapped()
		if !sent {
			return true
		}
		before := within
		if within = string(given) == id; within && !before {
			at = place + 1
			runs++
		}
		return true
	})
	if runs != 1 || !whole {
		return oldest, false
	}
	return at, true
}

// mapped is the id of the event that d.rec becomes for this stream, and whether it becomes one. Nothing is counted.
func (d *delivery) mapped() (id []byte, sent bool) {
	d.fallback = d.source.appendID(d.fallback[:0], d.rec.Seq)
	var r mapping.Result
	d.out, r = d.mapper.Append(d.out[:0], &d.rec, d.fallback)
	return r.ID, r.Outcome == mapping.Sent
}

// each goes through the records of the history, as long as do returns true: d.rec is the one at place. It is false if
// some have left the history meanwhile.
func (d *delivery) each(do func(place history.Cursor) bool) (whole bool) {
	place := d.feed.frames.Oldest()
	reader := d.feed.frames.Subscribe(place, idle{})
	defer reader.Close()
	for {
		var state history.State
		if d.entries, state, _ = reader.NextEntries(d.entries[:0]); state != history.Ready {
			return state != history.Lagged
		}
		for _, e := range d.entries {
			if _, isRecord := unpack(e, &d.rec); isRecord && !do(place) {
				return true
			}
			place++
		}
	}
}

// standing is the id of the last event before that place.
func (d *delivery) standing(at history.Cursor) []byte {
	if id, _ := d.feed.frames.Before(at); id != "" {
		return []byte(id)
	}
	return d.source.appendID(nil, d.feed.frames.Number(at))
}

// canonical is an id of the history as this server writes it.
func (d *delivery) canonical(id string) []byte {
	if seq, ok := d.source.seqOf(id); ok {
		return d.source.appendID(nil, seq)
	}
	return []byte(id)
}

// oldestID is the id of the oldest event that the history has for this stream.
func (d *delivery) oldestID() (oldest string) {
	if d.mapper != nil {
		d.each(func(history.Cursor) bool {
			id, sent := d.mapped()
			if sent {
				oldest = string(id)
			}
			return !sent
		})
		return oldest
	}
	stats := d.feed.frames.Stats()
	if stats.Events == 0 {
		return ""
	}
	if stats.OldestID != "" {
		return stats.OldestID
	}
	return string(d.source.appendID(nil, stats.OldestSeq))
}

// endErr is why the delivery ended, unless its stream ended it.
func (d *delivery) endErr() error {
	d.source.mu.Lock()
	defer d.source.mu.Unlock()
	switch {
	case d.err != nil:
		return d.err
	case d.feed.failed.Load():
		return errRecordInvalid
	default:
		return d.source.over
	}
}

// close leaves the source, which is kept for linger.
func (d *delivery) close(linger time.Duration) {
	if d.subscriber != nil {
		d.source.exit(d)
		d.subscriber.Close()
	}
	sources.release(d.handler, d.source, d.feed, linger)
}
