package sse

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/seed-4dedbcea/caddy-sse/internal/history"
)

// source is an upstream that streams share: it numbers the upstream's records, keeps the last of them, and has a
// feed of frames for each mapping that is in use. It is that upstream's Sink, and lives on over reconnects and
// config reloads.
type source struct {
	key    string
	epoch  string // changes when history is lost: the ids of two sources never mix
	since  time.Time
	ctx    context.Context // ends with the source
	cancel context.CancelFunc
	done   chan struct{} // closed when the upstream has been let go

	// Held while the records of one read are appended, and for what follows.
	mu        sync.Mutex
	handler   *Handler // the newest config that has asked for this source
	upstream  Upstream
	reconnect context.CancelFunc // lets go of the connection, to open another
	records   *history.Log       // packed records, from which frames can be made anew
	feeds     map[string]*feed   // by mapping
	inputs    []*input
	seq       uint64
	lastID    []byte // the last id that config or upstream gave, for {last_id}
	quiet     bool   // the upstream's heartbeat came, and nothing else
	packed    []byte // scratch
	fallback  []byte // scratch

	state      sourceState
	reconnects int
	lastErr    error
	over       error // why there will be no more; nil if there will, or if the upstream came to its end

	refs int // see sources
}

type sourceState string

const (
	isConnecting sourceState = "connecting"
	isLive       sourceState = "live"
	isDown       sourceState = "down" // waiting to connect anew
	isOver       sourceState = "over"
)

// Bounds of the wait before an upstream is opened anew: a random time up to a limit that starts here, doubles with
// each failure in a row, and grows no further than there.
const (
	minBackoff = 500 * time.Millisecond
	maxBackoff = 30 * time.Second
)

func newSource(h *Handler, key string, upstream Upstream) *source {
	s := &source{
		key: key, epoch: newEpoch(), since: time.Now(), done: make(chan struct{}),
		handler: h, upstream: upstream, state: isConnecting,
		records: history.New(h.Share.limits()), feeds: make(map[string]*feed),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if !h.perClient {
		s.feedFor(h) // what its expression holds back need not be kept
	}
	return s
}

// newEpoch is unlike any other, as it is made of the time, and of chance for two at the same time.
func newEpoch() string {
	return strconv.FormatInt(time.Now().UnixMicro(), 36) + strconv.FormatUint(rand.Uint64N(36*36), 36)
}

// burst is how many events beyond those of the history are kept for streams that are reading already, as far as its
// size allows: what one read of an upstream brings must not put every client behind.
const burst = 16 << 10

func (s *Share) limits() history.Limits {
	return history.Limits{Count: s.History, Size: int(s.HistorySize), Slack: burst}
}

// run opens the upstream, again and again, until the source is let go or the upstream is over.
func (s *source) run() {
	defer close(s.done)
	for failed := 0; ; failed++ {
		before := s.records.Stats().NewestSeq
		err := s.connect()
		if s.ctx.Err() != nil {
			return
		}
		h := s.config()
		if s.isOver(h, err) {
			s.finish(err)
			return
		}
		if errors.Is(err, errReplaced) {
			failed = -1
			continue
		}
		if s.records.Stats().NewestSeq != before {
			failed = 0
		}
		s.down(h, err, failed)
		limit := min(minBackoff<<min(failed, 10), maxBackoff)
		select {
		case <-time.After(jitter(limit)):
		case <-s.ctx.Done():
			return
		}
	}
}

// errReplaced ends a connection because a new config has another one.
var errReplaced = errors.New("a new config has another upstream")

// connect opens the upstream once and returns how it ended.
func (s *source) connect() error {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	s.mu.Lock()
	h, upstream, lastID := s.handler, s.upstream, string(s.lastID)
	s.reconnect = cancel
	s.inputs = nil
	s.mu.Unlock()

	err := h.open(ctx, upstream, lastID, s)

	s.mu.Lock()
	inputs, replaced := s.inputs, s.upstream != upstream
	s.reconnect = nil
	s.mu.Unlock()
	clean := err == nil || errors.Is(err, ErrEnded)
	for _, in := range inputs {
		if endErr := in.End(clean && !replaced); clean && endErr != nil {
			clean, err = false, endErr
		}
	}
	if replaced {
		s.begin()
		s.gap(gapUpstream)
		s.commit()
		return errReplaced
	}
	return err
}

// isOver is whether there is no point in connecting anew.
func (s *source) isOver(h *Handler, err error) bool {
	return errors.Is(err, ErrEnded) || errors.Is(err, errRecordTooLarge) || err == nil && h.End != nil
}

// finish lets the streams read what is left, then end.
func (s *source) finish(err error) {
	if !errors.Is(err, ErrEnded) {
		sources.forget(s)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.over = isOver, err
	s.records.Close()
	for _, f := range s.feeds {
		f.frames.Close()
	}
}

// down notes that the upstream is not there, and says so once for as long as that lasts.
func (s *source) down(h *Handler, err error, failed int) {
	s.mu.Lock()
	s.state = isDown
	s.reconnects++
	s.lastErr = err
	s.mu.Unlock()
	if err == nil {
		h.logger.Debug("upstream has ended, connecting anew", zap.String("backend", h.backendName()))
		return
	}
	failures.WithLabelValues(h.backendName()).Inc()
	if failed == 0 {
		h.logger.Warn("upstream failed, connecting anew", zap.String("backend", h.backendName()), zap.Error(err))
	}
}

func (s *source) config() *Handler {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handler
}

// Open takes an upstream that is there.
func (s *source) Open(contentType string) (Input, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == isDown {
		s.handler.logger.Info("upstream is back", zap.String("backend", s.handler.backendName()))
	}
	s.state = isLive
	in := newInput(s, s.handler.framing.options(contentType))
	if len(s.inputs) == 0 || !alwaysShared(s.handler.backend) {
		s.inputs = append(s.inputs, in)
	}
	return in, nil
}

func alwaysShared(b Backend) bool {
	_, ok := b.(AlwaysShared)
	return ok
}

// adopt makes a newer config's settings those of the source. What shares the next handler asks the new config's.
func (s *source) adopt(h *Handler, upstream Upstream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.generation <= s.handler.generation {
		return
	}
	s.handler = h
	s.dropUnusedFeeds()
	s.records.SetLimits(h.Share.limits())
	for _, f := range s.feeds {
		f.frames.SetLimits(h.Share.limits())
	}
	if next, ok := upstream.(*nextUpstream); ok {
		s.upstream = next
		if s.reconnect != nil {
			s.reconnect()
		}
	}
}

// The source as a consumer of its inputs' records.

func (s *source) begin() { s.mu.Lock() }

func (s *source) record(rec *record) error {
	s.seq++
	rec.seq = s.seq
	s.quiet = false
	s.fallback = s.appendID(s.fallback[:0], rec.seq)
	id := s.fallback
	if len(rec.ID) > 0 {
		id = rec.ID
		s.lastID = append(s.lastID[:0], id...)
	}
	kept := s.handler.perClient
	for _, f := range s.feeds {
		sent, given := f.append(rec, s.fallback)
		kept = kept || sent
		if len(given) > 0 && !bytes.Equal(given, s.fallback) {
			s.lastID = append(s.lastID[:0], given...)
		}
	}
	if !kept {
		s.records.Note(rec.seq)
		return nil
	}
	s.packed = pack(s.packed[:0], rec)
	s.records.Append(history.Entry{Seq: rec.seq, ID: id, Bytes: s.packed, Event: true})
	return nil
}

func (s *source) skipped() {
	s.seq++
	s.gap(gapRecordTooLarge)
}

func (s *source) blank() { s.quiet = true }

func (s *source) gap(reason string) {
	s.control(appendGap(nil, gap{Reason: reason}))
}

// control appends what is to reach every stream as it is.
func (s *source) control(block []byte) {
	s.records.Append(history.Entry{Seq: s.seq, Bytes: packControl(nil, block)})
	for _, f := range s.feeds {
		f.frames.Append(history.Entry{Seq: s.seq, Bytes: block})
	}
}

func (s *source) commit() error {
	defer s.mu.Unlock()
	if s.quiet {
		s.control([]byte(comment))
		s.quiet = false
	}
	s.records.Publish()
	for _, f := range s.feeds {
		f.frames.Publish()
	}
	return s.ctx.Err()
}

// sources are those of this process, by key; each is held by the streams that share it.
var sources sourcePool

type sourcePool struct {
	mu    sync.Mutex
	byKey map[string]*source
	all   map[*source]struct{}
}

// acquire finds the source with that key, or opens it. Whoever acquires it has to release it.
func (p *sourcePool) acquire(h *Handler, upstream Upstream, shareKey string) (s *source, opened bool) {
	key := h.sourceKey(upstream, shareKey)
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.byKey[key]; ok {
		s.refs++
		s.adopt(h, upstream)
		return s, false
	}
	if p.byKey == nil {
		p.byKey, p.all = make(map[string]*source), make(map[*source]struct{})
	}
	s = newSource(h, key, upstream)
	s.refs = 1
	p.byKey[key], p.all[s] = s, struct{}{}
	sourcesActive.Inc()
	go s.run()
	return s, true
}

// sourceKey tells sources apart: by the upstream or by the config's own key, and by what makes records of bytes.
func (h *Handler) sourceKey(upstream Upstream, shareKey string) string {
	identity := Key("upstream", upstream.Key())
	if shareKey != "" {
		identity = Key("share", h.backendName(), h.backendConfig, shareKey)
	}
	return Key(identity, h.Format, h.Charset, strconv.FormatInt(h.MaxRecordSize, 10), h.Oversize)
}

// release lets go of the source; when nobody has acquired it for linger, it ends.
func (s *source) release(linger time.Duration) {
	if linger > 0 {
		time.AfterFunc(linger, func() { s.release(0) })
		return
	}
	sources.close(s, func() bool { s.refs--; return s.refs == 0 })
}

// forget makes the next one who asks for the source's key open another.
func (p *sourcePool) forget(s *source) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgetLocked(s)
}

func (p *sourcePool) forgetLocked(s *source) {
	if p.byKey[s.key] == s {
		delete(p.byKey, s.key)
	}
}

// close ends the source, if it has not been yet and if unused says so, and waits until its upstream is let go.
func (p *sourcePool) close(s *source, unused func() bool) {
	p.mu.Lock()
	_, open := p.all[s]
	if open = open && unused(); open {
		p.forgetLocked(s)
		delete(p.all, s)
	}
	p.mu.Unlock()
	if open {
		s.cancel()
		<-s.done
		sourcesActive.Dec()
	}
}

// closeAll ends every source, so that a process that exits leaves nothing behind.
func (p *sourcePool) closeAll() {
	for _, s := range p.list() {
		p.close(s, func() bool { return true })
	}
}

func (p *sourcePool) list() []*source {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*source, 0, len(p.all))
	for s := range p.all {
		list = append(list, s)
	}
	return list
}

var (
	_ Sink     = (*source)(nil)
	_ consumer = (*source)(nil)
)
