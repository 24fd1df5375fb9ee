package share

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
	"github.com/seed-4dedbcea/caddy-sse/store"
)

// patience is how long a client waits for a response while its source loads the store. After that, it gets a stream without events.
const patience = time.Second

var errGone = errors.New("the client has left before its source was there")

// joinStored is join with a store. It waits until this process has loaded the store. The store may have several sources with this key,
// one after the other. All except the last one have ended.
func (c *Server) joinStored(d *delivery, w http.ResponseWriter, r *http.Request, upstream backend.Upstream, key, lastID string) (v *view, opened bool, err error) {
	opens := c.Opens(r.Method)
	how := opening{once: c.isOnce(r.Method), looksUp: !opens}
	if !opens {
		how.once = c.allOnce()
	}
	for {
		src, made, err := sources.acquire(c, upstream, key, how)
		if err == nil && !d.await(src.ready, c, w, r) {
			sources.release(c, src, nil, 0)
			err = errGone
		}
		if err != nil {
			return nil, false, err
		}
		isKept, forGood, place := sources.endingOf(src)
		v := newView(c, r, src)
		switch {
		case src.isPast:
			_, found := v.find(lastID)
			if forGood || isKept && lastID != "" && found {
				return v, false, nil
			}
		case opens || src.mayLead.Load():
			if !d.await(src.begun, c, w, r) {
				v.leave(0)
				return nil, false, errGone
			}
			// Another process may have sent the client's last event already, or know that the source has ended.
			_, found := v.find(lastID)
			isQuestion := opens && how.once && !made && lastID == ""
			if (isQuestion || lastID != "" && !found) && !d.awaitNewest(src, c, w, r) {
				v.leave(0)
				return nil, false, errGone
			}
			if isQuestion && src.hasEnded() {
				break // another one begins after it
			}
			return v, made && src.isNew, nil
		default: // no process has opened it, so use one that is kept
			v.leave(0)
			if src, ok := sources.newestKept(c, key); ok {
				return newView(c, r, src), false, nil
			}
			return nil, false, errNoSource
		}
		v.leave(0)
		how.after = max(how.after, place)
	}
}

// newestKept returns the newest source with this key that is kept after its end. The caller must release it.
func (p *sourcePool) newestKept(c *Server, key string) (s *source, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range slices.Backward(p.byKey[key]) {
		if s.forget != nil {
			p.hold(c, s)
			return s, true
		}
	}
	return nil, false
}

// endingOf returns whether a source is kept after its end, whether its upstream has ended for good, and the position of its end in the
// store.
func (p *sourcePool) endingOf(s *source) (isKept, forGood bool, place store.Pos) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return s.forget != nil, s.forGood, s.place
}

// hasEnded reports whether the source's upstream has ended, so that a request that may open one gets another source.
func (s *source) hasEnded() bool {
	sources.mu.Lock()
	defer sources.mu.Unlock()
	return s.ended && !s.forGood
}

func (p *sourcePool) placeOf(s *source) store.Pos {
	_, _, place := p.endingOf(s)
	return place
}

// await waits until done is closed. If that takes longer than patience, the client gets a stream meanwhile. It returns false if the client
// has left or its stream has ended.
func (d *delivery) await(done <-chan struct{}, c *Server, w http.ResponseWriter, r *http.Request) bool {
	select {
	case <-done:
		return true
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case <-done:
			return true
		case <-timer.C:
			if d.stream == nil {
				d.makeStream(c, w, r)
				_ = d.stream.Start(nil) // its failure ends the stream, which is noticed below
			}
		case <-d.signal:
			if d.stopped.Load() {
				return false
			}
		case <-r.Context().Done():
			if d.stream != nil {
				d.stream.End(stream.EndClientGone)
			}
			return false
		}
	}
}

// awaitNewest waits until the source has what is in the store now, as await does.
func (d *delivery) awaitNewest(s *source, c *Server, w http.ResponseWriter, r *http.Request) bool {
	member := s.member.Load()
	if member == nil {
		return true // it is about to join
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		member.CatchUp(ctx)
	}()
	waited := d.await(done, c, w, r)
	cancel()
	<-done
	return waited
}

// openWith lets a source that was only looked up open its upstream, with the upstream of a request that may open it.
func (s *source) openWith(upstream backend.Upstream, once bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mayLead.Load() && s.state != isFinished {
		s.upstream = upstream
		s.once.Store(once)
		s.mayLead.Store(true)
	}
}

// stopStored ends a source in all processes, and drops sources that this process keeps after their end. It reports whether there is
// one.
func (c *Server) stopStored(ctx context.Context, asked backend.Upstream, key string) (found bool, err error) {
	isUnsure := false
	err = c.eachStored(ctx, asked, key, func(s *source) {
		switch {
		case s.isPast:
		case s.endStored(upstream.ErrStopped):
			found = true
		default:
			isUnsure = !s.isFinished()
		}
	})
	if isUnsure {
		err = errors.Join(err, context.DeadlineExceeded)
	}
	for {
		s, ok := sources.newestKept(c, key)
		if !ok {
			return found, err
		}
		s.endByHand(upstream.ErrStopped, sources.placeOf(s))
		sources.release(c, s, nil, 0)
		found = true
	}
}

// existsStored reports whether a process has a source with this key, open or kept after its end. It returns true if that cannot be found
// out, as a client gets a stream then.
func (c *Server) existsStored(ctx context.Context, asked backend.Upstream, key string) (found bool) {
	if s, ok := sources.newestKept(c, key); ok {
		sources.release(c, s, nil, 0)
		return true
	}
	err := c.eachStored(ctx, asked, key, func(*source) { found = true })
	return found || err != nil
}

// eachStored calls do for the sources with this key in the store: first for those that are kept after their end, and then for the open
// one.
func (c *Server) eachStored(ctx context.Context, asked backend.Upstream, key string, do func(*source)) error {
	how := opening{once: c.allOnce(), looksUp: true}
	for {
		src, _, err := sources.acquire(c, asked, key, how)
		if err != nil {
			return err
		}
		select {
		case <-src.ready:
		case <-ctx.Done():
			sources.release(c, src, nil, 0)
			return ctx.Err()
		}
		isKept, forGood, place := sources.endingOf(src)
		if src.isPast && isKept || !src.isPast && src.mayLead.Load() {
			do(src)
		}
		sources.release(c, src, nil, 0)
		if !src.isPast || forGood {
			return nil
		}
		how.after = place
	}
}

// endByHand ends a source without keeping it. It does not wait until the upstream is closed.
func (s *source) endByHand(err error, place store.Pos) {
	sources.endNow(s, place)
	if err == stream.ErrEndedByAdmin {
		s.endStreams(stream.EndAdmin)
	}
	s.halt(err)
	time.AfterFunc(0, func() {
		sources.close(s, func() bool { return true })
		s.holdAnew()
	})
}

// endStored ends a source in all processes. It returns false if there is no store, or if the store does not answer.
func (s *source) endStored(err error) bool {
	member := s.member.Load()
	if member == nil || s.isFinished() {
		return false
	}
	ctx, cancel := context.WithTimeout(s.ctx, endTimeout)
	defer cancel()
	return member.End(ctx, textOf(err))
}

func (s *source) isFinished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == isFinished
}

const endTimeout = 5 * time.Second

// endStreams ends the streams of a source at once.
func (s *source) endStreams(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d := range s.streams {
		d.stream.End(reason)
	}
}

// trimEnded drops from the store what came before a source's end, so that nobody has to read it again.
func (s *source) trimEnded() {
	member, place := s.member.Load(), sources.placeOf(s)
	if member == nil || place == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), trimTimeout)
	defer cancel()
	_ = member.Trim(ctx, place) // the store's own age does it later
}

const trimTimeout = 2 * time.Second
