package upstream

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/seed-4dedbcea/caddy-sse/backend"
)

// fanOut shares a single-instance upstream, such as a socket, among sources that frame it differently. They are in one config, or in
// two configs while one takes over. The upstream is opened once. Each source gets every byte.
type fanOut struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when Stream has returned
	err    error         // the result of Stream, valid after done is closed

	mu      sync.RWMutex // held for reading while bytes are passed on
	takers  []*taker
	version int       // incremented when takers change
	first   *fanInput // the first input; a new taker gets one too, as a sign that the upstream is open
	closing bool      // the last taker has left
}

// taker is a source that gets the upstream's bytes.
type taker struct {
	sink   backend.Sink
	failed chan error // receives the first error of its inputs
}

func (t *taker) fail(err error) {
	select {
	case t.failed <- err:
	default: // it has an error already
	}
}

// fanOuts holds the fan-outs in this process, by the key of their upstream.
var fanOuts = struct {
	mu    sync.Mutex
	byKey map[string]*fanOut
}{byKey: make(map[string]*fanOut)}

// streamSingle is Upstream.Stream for a single-instance upstream.
func streamSingle(ctx context.Context, upstream backend.Upstream, sink backend.Sink) error {
	t := &taker{sink: sink, failed: make(chan error, 1)}
	f := joinFanOut(upstream, t)
	defer f.leave(t)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-t.failed:
		return err
	case <-f.done:
		return f.err
	}
}

// joinFanOut adds a taker to the upstream. The first one opens it.
func joinFanOut(upstream backend.Upstream, t *taker) *fanOut {
	key := upstream.Key()
	for {
		fanOuts.mu.Lock()
		f, ok := fanOuts.byKey[key]
		if !ok {
			ctx, cancel := context.WithCancel(context.Background())
			f = &fanOut{cancel: cancel, done: make(chan struct{}), takers: []*taker{t}}
			fanOuts.byKey[key] = f
			go f.run(ctx, upstream, key)
		}
		fanOuts.mu.Unlock()
		if !ok || f.add(t) {
			return f
		}
		<-f.done
	}
}

func (f *fanOut) run(ctx context.Context, upstream backend.Upstream, key string) {
	f.err = upstream.Stream(ctx, "", f)
	f.cancel()
	fanOuts.mu.Lock()
	delete(fanOuts.byKey, key)
	fanOuts.mu.Unlock()
	close(f.done)
}

// add adds a taker. It returns false if the upstream is being closed.
func (f *fanOut) add(t *taker) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return false
	}
	f.takers = append(f.takers, t)
	f.version++
	if f.first != nil {
		f.first.refresh()
	}
	return true
}

// leave removes a taker. It closes the upstream with the last taker. After it has returned, t gets no more bytes.
func (f *fanOut) leave(t *taker) {
	f.mu.Lock()
	f.takers = slices.DeleteFunc(f.takers, func(other *taker) bool { return other == t })
	f.version++
	f.closing = len(f.takers) == 0
	last := f.closing
	f.mu.Unlock()
	if last {
		f.cancel()
		<-f.done
	}
}

// Open opens an input at each taker.
func (f *fanOut) Open(contentType string) (backend.Input, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	in := &fanInput{fanOut: f, contentType: contentType}
	in.refresh()
	if f.first == nil {
		f.first = in
	}
	return in, nil
}

// fanInput passes everything on to an input at each taker.
type fanInput struct {
	fanOut      *fanOut
	contentType string
	taps        []tap
	version     int  // the version of the takers that have taps
	within      bool // the last byte was within a line
}

// tap is the input at one taker.
type tap struct {
	taker  *taker
	input  backend.Input
	within bool // the taker joined within a line, and must not get the rest of it
}

// refresh opens inputs at new takers, and drops those of takers that have left. The fanOut is locked.
func (in *fanInput) refresh() {
	taps := make([]tap, 0, len(in.fanOut.takers))
	for _, t := range in.fanOut.takers {
		if i := slices.IndexFunc(in.taps, func(known tap) bool { return known.taker == t }); i >= 0 {
			taps = append(taps, in.taps[i])
		} else if input, err := t.sink.Open(in.contentType); err != nil {
			t.fail(err)
		} else {
			taps = append(taps, tap{t, input, in.within})
		}
	}
	in.taps, in.version = taps, in.fanOut.version
}

// each calls hand for each taker. within says whether the input is within a line after that. The failure of one taker does not
// affect the others.
func (in *fanInput) each(within bool, hand func(*tap) error) error {
	in.fanOut.mu.RLock()
	defer in.fanOut.mu.RUnlock()
	if in.version != in.fanOut.version {
		in.refresh()
	}
	if len(in.fanOut.takers) == 0 {
		return context.Canceled
	}
	for i := range in.taps {
		if err := hand(&in.taps[i]); err != nil {
			in.taps[i].taker.fail(err)
		}
	}
	in.within = within
	return nil
}

func (in *fanInput) Write(p []byte) (int, error) {
	within := in.within
	if len(p) > 0 {
		within = p[len(p)-1] != '\n'
	}
	err := in.each(within, func(t *tap) error {
		part := p
		if t.within {
			i := bytes.IndexByte(p, '\n')
			part, t.within = p[i+1:], i < 0
			if t.within {
				return nil
			}
		}
		_, err := t.input.Write(part)
		return err
	})
	return len(p), err
}

func (in *fanInput) End(clean bool) error {
	return in.each(false, func(t *tap) error {
		t.within = false
		return t.input.End(clean)
	})
}

func (in *fanInput) SetOffset(offset int64, appendID func([]byte, int64) []byte) {
	_ = in.each(in.within, func(t *tap) error { t.input.SetOffset(offset, appendID); return nil })
}

func (in *fanInput) Gap() error {
	return in.each(in.within, func(t *tap) error { return t.input.Gap() })
}

var (
	_ backend.Sink  = (*fanOut)(nil)
	_ backend.Input = (*fanInput)(nil)
)
