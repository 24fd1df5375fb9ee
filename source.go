package sse

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/history"
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

	// Held while the records of one read are mapped and appended, which takes as long as the config's expressions do.
	// Neither clients nor the admin API wait for it. It is taken before mu.
	mapping  sync.Mutex
	newest   *Handler // handler, as of the beginning of the read
	taking   []*feed  // feeds, as of the beginning of the read
	seq      uint64
	lastID   []byte // the last id that config or upstream gave, for {last_id}
	resumes  bool   // it is the upstream's own
	quiet    bool   // the upstream's heartbeat came, and nothing else
	packed   []byte // scratch
	fallback []byte // scratch

	making sync.Mutex // held while a feed is made; taken before mapping

	// Held for moments only, and for what follows.
	mu        sync.Mutex
	handler   *Handler // the newest config that has asked for this source
	upstream  Upstream
	reconnect context.CancelFunc // lets go of the connection, to open another
	replaced  bool               // the connection is let go of because a new config has another
	records   *history.Log       // packed records, from which frames can be made anew
	feeds     []*feed            // one for each mapping
	streams   map[*delivery]struct{}
	checking  bool // for laggards, before long
	inputs    []*input
	committed uint64 // seq, as of the end of the last read

	state      sourceState
	reconnects int
	lastErr    error
	reported   bool  // that the upstream is down
	over       error // why there will be no more; nil if there will, or if the upstream came to its end

	pump       pump
	heartbeats atomic.Uint64 // of the upstream
	wish       atomic.Int64  // the upstream's retry, in milliseconds, and 1; 0 if it has none
	wished     int64         // what the streams have been woken for
	renewed    chan struct{} // a new config need not wait for the next attempt
	warnings   logLimit

	refs int // see sources
}

type sourceState string

const (
	isConnecting sourceState = "connecting"
	isLive       sourceState = "live"
	isDown       sourceState = "down" // waiting to connect anew
	isFinished   sourceState = "over"
)

// Bounds of the wait before an upstream is opened anew: a random time up to a limit that starts here, doubles with
// each failure in a row, and grows no further than there. A connection that brought a record, or lasted longer than any
// wait, is no failure in that sense.
const (
	minBackoff = 500 * time.Millisecond
	maxBackoff = 30 * time.Second
)

func newSource(h *Handler, key string, upstream Upstream) *source {
	s := &source{
		key: key, epoch: newEpoch(), since: time.Now(), done: make(chan struct{}), renewed: make(chan struct{}, 1),
		handler: h, upstream: upstream, state: isConnecting,
		records: history.New(h.Share.limits()), streams: make(map[*delivery]struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.feedFor(h, 0) // before the first record
	return s
}

// newEpoch is unlike any other, as it is made of the time, and of chance for two at the same time.
func newEpoch() string {
	return strconv.FormatInt(time.Now().UnixMicro(), 36) + strconv.FormatUint(rand.Uint64N(36*36), 36)
}

// burst is how many events beyond those of the history are kept for streams that are reading already, and burstSize how
// many bytes at least of both: what a read or two of an upstream bring must not put every client behind.
const (
	burst     = 16 << 10
	burstSize = 2 * httpReadSize
)

func (s *Share) limits() history.Limits {
	return history.Limits{Count: s.History, Size: int(s.HistorySize), Slack: burst, SlackSize: burstSize}
}

// run opens the upstream, again and again, until the source is let go or the upstream is over.
func (s *source) run() {
	defer close(s.done)
	for failed := 0; ; failed++ {
		before, began := s.count(), time.Now()
		err := s.connect()
		if s.ctx.Err() != nil {
			return
		}
		h := s.config()
		if errors.Is(err, errReplaced) {
			failed = -1
			continue
		}
		if isOver(h, err) {
			s.finish(h, err)
			return
		}
		if s.count() != before || time.Since(began) > maxBackoff {
			failed = 0
		}
		s.down(h, err)
		limit := min(minBackoff<<min(failed, 10), maxBackoff)
		if !s.wait(jitter(limit)) {
			failed = -1
		}
	}
}

// wait is false if it was cut short.
func (s *source) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.renewed:
	case <-s.ctx.Done():
	}
	return false
}

// count is how many records there have been.
func (s *source) count() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.committed
}

// errReplaced ends a connection because a new config has another one.
var errReplaced = errors.New("a new config has another upstream")

// connect opens the upstream once and returns how it ended.
func (s *source) connect() error {
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	s.mapping.Lock()
	lastID := string(s.lastID)
	s.mapping.Unlock()
	s.mu.Lock()
	h, upstream := s.handler, s.upstream
	s.reconnect, s.replaced = cancel, false
	s.inputs = nil
	s.mu.Unlock()

	err := h.open(ctx, upstream, lastID, s)

	s.mu.Lock()
	inputs, replaced, live := s.inputs, s.replaced, s.state == isLive
	s.reconnect = nil
	s.mu.Unlock()
	clean := endedCleanly(err)
	for _, in := range inputs {
		if endErr := in.End(clean && !replaced); clean && endErr != nil {
			clean, err = false, endErr
		}
	}
	if replaced {
		s.begin()
		// An upstream with ids of its own is told where to go on, as an EventSource would tell it.
		if live && !s.resumes {
			s.gap(gapUpstream)
		}
		_ = s.commit()
		return errReplaced
	}
	return err
}

// isOver is whether there is no point in connecting anew.
func isOver(h *Handler, err error) bool {
	return errors.Is(err, ErrEnded) || errors.Is(err, errRecordTooLarge) || err == nil && h.End != nil
}

// finish lets the streams read what is left, then end.
func (s *source) finish(h *Handler, err error) {
	if !errors.Is(err, ErrEnded) {
		sources.forget(s)
		if err != nil {
			h.warnUpstream(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.over, s.lastErr = isFinished, err, err
	s.records.Close()
	for _, f := range s.feeds {
		f.frames.Close()
	}
}

// down notes that the upstream is not there, and says so once for as long as that lasts.
func (s *source) down(h *Handler, err error) {
	s.mu.Lock()
	s.state = isDown
	s.reconnects++
	s.lastErr = err
	news := err != nil && !s.reported
	s.mu.Unlock()
	if err == nil {
		h.logger.Debug("upstream has ended, connecting anew", zap.String("backend", h.backendName()))
		return
	}
	h.meters.failures.Inc()
	if !news {
		return
	}
	if log := h.warnings(&s.warnings); log != nil {
		log.Warn("upstream failed, connecting anew", zap.Error(plainError(err)))
		s.mu.Lock()
		s.reported = true
		s.mu.Unlock()
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
	if err := s.handler.checkType(contentType); err != nil {
		return nil, err
	}
	if s.reported {
		s.handler.logger.Info("upstream is back", zap.String("backend", s.handler.backendName()))
	}
	s.state, s.reported, s.lastErr = isLive, false, nil
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
	s.feedFor(h, 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.generation <= s.handler.generation {
		return
	}
	// Routes of one config may share a source. Only another config's next handler is another one.
	s.handler.meters.sourcesActive.Dec()
	s.handler = h
	s.handler.meters.sourcesActive.Inc()
	s.dropUnusedFeeds()
	former, isNext := s.upstream.(*nextUpstream)
	s.upstream = upstream // what the former one was given by its config has been cleaned up
	if !isNext || former.server == upstream.(*nextUpstream).server {
		return // but its connection is as good as another
	}
	s.replaced = true
	if s.reconnect != nil {
		s.reconnect()
	}
	select {
	case s.renewed <- struct{}{}:
	default:
	}
}

// The source as a consumer of its inputs' records.

func (s *source) begin() {
	s.mapping.Lock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest, s.taking = s.handler, append(s.taking[:0], s.feeds...)
	for _, f := range s.taking {
		f.begin()
	}
}

func (s *source) counts() *meters { return s.newest.meters }

func (s *source) record(rec *record) error {
	s.seq++
	rec.seq = s.seq
	if rec.Truncated {
		s.newest.warnTooLarge()
	}
	s.fallback = s.appendID(s.fallback[:0], rec.seq)
	if rec.ID != nil { // an empty one takes it back
		s.lastID, s.resumes = append(s.lastID[:0], rec.ID...), len(rec.ID) > 0
	}
	// Who comes back under the next config may want what no mapping of the former ones did.
	kept := s.newest.stopped.Load()
	for _, f := range s.taking {
		sent, given := f.take(rec, s.fallback)
		kept = kept || sent
		if f.current == s.newest && len(given) > 0 && !bytes.Equal(given, rec.ID) {
			s.lastID, s.resumes = append(s.lastID[:0], given...), false
		}
	}
	if !kept {
		s.records.Note(rec.seq)
		return nil
	}
	s.packed = pack(s.packed[:0], rec)
	s.records.Append(history.Entry{Seq: rec.seq, ID: s.fallback, Bytes: s.packed, Event: true})
	return nil
}

func (s *source) skipped() {
	s.seq++
	s.newest.warnTooLarge()
	s.control(s.seq, gapRecordTooLarge)
}

func (s *source) blank() { s.quiet = true }

// retry is for all streams, those that are yet to open, too. It is not in the log: it would drive events out of the
// history.
func (s *source) retry(ms int64) { s.wish.Store(ms + 1) }

// gap lies behind the last record, so that who resumes after that is told, too.
func (s *source) gap(reason string) { s.control(s.seq+1, reason) }

// control appends a gap that is to reach every stream.
func (s *source) control(seq uint64, reason string) {
	s.records.Append(history.Entry{Seq: seq, Bytes: packGap(nil, reason)})
	for _, f := range s.taking {
		if f.mapper != nil {
			f.gap(seq, reason)
		}
	}
}

func (s *source) commit() error {
	defer s.mapping.Unlock()
	if s.quiet {
		s.heartbeats.Add(1)
	}
	wish := s.wish.Load()
	s.records.Publish()
	for _, f := range s.taking {
		f.frames.Publish()
		if s.quiet || wish != s.wished {
			f.frames.Wake()
		}
	}
	s.quiet, s.wished = false, wish
	s.mu.Lock()
	defer s.mu.Unlock()
	s.committed = s.seq
	if !s.checking && len(s.streams) > 0 {
		s.checking = true
		time.AfterFunc(lagInterval, s.endLaggards)
	}
	return s.ctx.Err()
}

// lagInterval is how often it is looked for streams that have fallen behind while they are blocked in a write.
const lagInterval = time.Second

// endLaggards ends the streams that are behind the history and are not to skip what they have missed. One that still
// writes finds that out by itself; one whose client takes nothing would have to wait for its stall timeout.
func (s *source) endLaggards() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checking = false
	for d := range s.streams {
		if d.share.Lag != lagSkip && d.subscriber.HasLagged() {
			d.lag()
		}
	}
}

func (s *source) enter(d *delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[d] = struct{}{}
}

func (s *source) exit(d *delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, d)
}

var (
	_ Sink     = (*source)(nil)
	_ consumer = (*source)(nil)
)
