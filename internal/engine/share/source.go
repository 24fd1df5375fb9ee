package share

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/ratelog"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/history"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

// source is an upstream that streams share. It numbers the upstream's records, keeps the last ones, and has a feed for each mapping in
// use. It implements backend.Sink, and survives reconnects and config reloads.
type source struct {
	identity
	life
	intake
	connection
	membership

	making sync.Mutex // held while a feed is made; taken before intake.mapping

	// mu is held only for moments. It guards the fields below.
	mu     sync.Mutex
	server *Server // the newest config that uses this source
	logs
	audience
	signals
	holding
}

// logs are the histories of a source.
type logs struct {
	records   *history.Log // packed records, from which frames can be made again
	feeds     []*feed      // one for each mapping
	committed uint64       // seq at the end of the last read
}

// signals are sent to all streams, but are not in a log.
type signals struct {
	heartbeats atomic.Uint64
	wish       atomic.Int64 // the upstream's retry in milliseconds, plus 1; 0 if there is none
}

// identity identifies a source.
type identity struct {
	key    string
	common string // the part of the key that is the same in all processes
	id     string // in the admin API
	epochs epochs // the epochs in the records' ids, which change when history is lost, so that ids of two sources never mix
	since  time.Time
	once   atomic.Bool // its upstream is not opened again, see Server.isOnce
}

// life is the lifetime of a source.
type life struct {
	ctx    context.Context // canceled when the source is closed
	cancel context.CancelFunc
	done   chan struct{} // closed when the upstream is closed
}

// intake receives records. Its lock is held while the records of one read are mapped and appended, which takes as long as the expressions
// in the config take. Neither clients nor the admin API wait for it. It is taken before source.mu.
type intake struct {
	mapping  sync.Mutex
	newest   *Server // source.server at the beginning of the read
	taking   []*feed // source.feeds at the beginning of the read
	seq      uint64
	lastID   []byte // the last id from the config or the upstream, for {last_id}
	resumes  bool   // lastID is from the upstream
	missed   uint64 // the number of the last record that had left the store before this process joined
	selector *mapping.Selector
	blank    bool   // the read has had heartbeats
	wished   int64  // the value of signals.wish at the last wake-up of the streams
	packed   []byte // scratch
	fallback []byte // scratch
}

// connection is a source's connection to its upstream. It is guarded by source.mu.
type connection struct {
	upstream   backend.Upstream
	reconnect  context.CancelFunc // closes the connection, so that a new one is opened
	replaced   bool               // the connection is closed because a new config has another upstream
	inputs     []*upstream.Input
	unfinished *records.Budget // shared by the connection's inputs
	skipID     bool            // open the next connection without lastID, which the upstream has rejected

	condition

	publisher *publisher    // takes the records if there is a store and this process leads; nil: the source takes them
	received  uint64        // the number of the newest record from the upstream at the end of the last read
	renewed   chan struct{} // has a value after a new config: connect without waiting
	entered   chan struct{} // has a value after a stream has entered
	warnings  *ratelog.Limiter
}

// condition is the state of a source's upstream. It is guarded by source.mu.
type condition struct {
	state    State
	changed  time.Time // the time since when it has been down or connecting; zero while it is live
	attempts int       // the number of reconnects
	lastErr  error
	reported bool  // it was logged that the upstream is down
	over     error // the reason why the source has ended; nil while it runs, and after a clean end
}

// State is the state of a source's upstream in the admin API.
type State string

// The states of a source.
const (
	isConnecting State = "connecting"
	IsLive       State = "live"
	IsDown       State = "down" // waiting before the next connection
	isFinished   State = "over"
)

func newSource(c *Server, key string, upstream backend.Upstream) *source {
	id := newEpoch()
	s := &source{
		identity: identity{key: key, common: c.commonKey(key), id: id, since: time.Now()},
		life:     life{done: make(chan struct{})},
		connection: connection{
			upstream: upstream, condition: condition{state: isConnecting},
			renewed: make(chan struct{}, 1), entered: make(chan struct{}, 1), warnings: ratelog.Warnings(),
		},
		server: c, logs: logs{records: history.New(c.Kept)}, audience: audience{streams: make(map[*delivery]struct{})},
	}
	if c.Store == nil {
		s.epochs.only = id
	} else {
		s.store, s.ready, s.begun = c.Store.Hold(), make(chan struct{}), make(chan struct{})
	}
	s.selector = c.Ending.Bind(caddy.NewReplacer().GetString)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.feedFor(c, 0) // before the first record
	return s
}

// newEpoch returns an epoch that no other source has. It is the time and a random part, for sources in the same microsecond.
func newEpoch() string {
	return strconv.FormatInt(time.Now().UnixMicro(), 36) + strconv.FormatUint(rand.Uint64N(36*36), 36)
}

func (s *source) config() *Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server
}

// Open implements backend.Sink.
func (s *source) Open(contentType string) (backend.Input, error) {
	in, withoutID, err := s.open(contentType)
	if withoutID {
		s.mapping.Lock()
		s.lastID = nil
		s.mapping.Unlock()
		s.tellGap() // records in between may be lost
	}
	if err != nil {
		return nil, err
	}
	return in, nil
}

func (s *source) open(contentType string) (in *upstream.Input, withoutID bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == isFinished {
		return nil, false, errHalted
	}
	config := s.server.Upstream
	if err := config.CheckType(contentType); err != nil {
		return nil, false, err
	}
	if s.reported {
		config.Report.Logger.Info("upstream is back", zap.String("backend", config.Report.Backend))
	}
	s.state, s.changed, s.reported, s.lastErr = IsLive, time.Time{}, false, nil
	withoutID, s.skipID = s.skipID, false
	in = upstream.NewInput(s.consumer(), config.Options(contentType), s.unfinished)
	if len(s.inputs) == 0 || !config.Shared {
		s.inputs = append(s.inputs, in)
	}
	return in, withoutID, nil
}

// adopt gives the source the options of a newer config. A source of the next handler reconnects to that of the new config.
func (s *source) adopt(c *Server, upstream backend.Upstream) {
	s.feedFor(c, 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.adoptLocked(c, upstream)
}

func (s *source) adoptLocked(c *Server, upstream backend.Upstream) {
	if c.Generation <= s.server.Generation {
		return
	}
	s.server.report.Meters.SourcesActive.Dec()
	s.server = c
	s.server.report.Meters.SourcesActive.Inc()
	s.dropUnusedFeeds()
	if s.state == isFinished {
		return
	}
	former, ofConfig := s.upstream.(configUpstream)
	s.upstream = upstream // the old one may need something that its config has cleaned up
	if s.once.Load() || !ofConfig || !former.ReplacedBy(upstream) {
		return // its connection can stay
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

// The methods of upstream.Consumer.

func (s *source) Begin() {
	s.mapping.Lock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest, s.taking = s.server, append(s.taking[:0], s.feeds...)
	for _, f := range s.taking {
		f.begin()
	}
}

func (s *source) Counts() *metrics.Meters { return s.newest.report.Meters }

func (s *source) Record(rec *records.Record) error {
	s.seq++
	rec.Seq = s.seq
	if rec.Truncated {
		s.newest.report.TooLarge(upstream.RecordTooLarge)
	}
	selected := s.selector.Select(rec)
	if selected == mapping.SelectedError {
		s.skip(rec.Seq)
		failed := upstream.NewFailureRecord(rec)
		if !s.newest.Upstream.Shared {
			return failed
		}
		// The socket stays open: to open it again would cut off its senders.
		s.publish()
		s.newest.report.Failed(failed)
		s.breakOff(failed)
		return nil
	}
	s.take(rec)
	if selected == mapping.SelectedEnd {
		return upstream.ErrLastRecord
	}
	return nil
}

// take maps and keeps a record. The record has its number already.
func (s *source) take(rec *records.Record) {
	s.fallback = s.epochs.appendID(s.fallback[:0], rec.Seq)
	if rec.ID != nil { // an empty id resets it
		s.lastID, s.resumes = append(s.lastID[:0], rec.ID...), len(rec.ID) > 0
	}
	// After a reload, a client may need a record that no earlier mapping sent.
	kept := s.newest.stopped.Load()
	for _, f := range s.taking {
		sent, given := f.take(rec, s.fallback)
		kept = kept || sent
		if f.current == s.newest && len(given) > 0 && !bytes.Equal(given, rec.ID) {
			s.lastID, s.resumes = append(s.lastID[:0], given...), false
		}
	}
	if kept {
		s.packed = pack(s.packed[:0], rec)
		s.records.Append(history.Entry{Seq: rec.Seq, ID: s.fallback, Bytes: s.packed, Event: true})
	} else {
		s.records.Note(rec.Seq)
	}
}

// skip records the number of a record that no client gets.
func (s *source) skip(seq uint64) {
	s.records.Note(seq)
	for _, f := range s.taking {
		if f.mapper != nil {
			f.frames.Note(seq)
		}
	}
}

func (s *source) Skipped(why string) {
	s.seq++
	s.newest.report.TooLarge(why)
	s.control(s.seq, frame.GapRecordTooLarge)
}

func (s *source) Blank() { s.blank = true }

// Retry is for all streams, even for those that open later. It is not in the log, because it would push events out of the history.
func (s *source) Retry(ms int64) { s.wish.Store(ms + 1) }

// Position does nothing: a stream knows its position in the log, and the next record has the id.
func (s *source) Position([]byte) {}

// Gap adds a gap after the last record. A client that resumes after that record gets it too.
func (s *source) Gap(reason string) { s.control(s.seq+1, reason) }

// control appends a gap for all streams.
func (s *source) control(seq uint64, reason string) {
	s.records.Append(history.Entry{Seq: seq, Bytes: packGap(nil, reason)})
	for _, f := range s.taking {
		if f.mapper != nil {
			f.gap(seq, reason)
		}
	}
}

func (s *source) Commit() error {
	defer s.mapping.Unlock()
	if s.blank {
		s.heartbeats.Add(1)
	}
	wish := s.wish.Load()
	s.publish()
	for _, f := range s.taking {
		if s.blank || wish != s.wished {
			f.frames.Wake()
		}
	}
	s.blank, s.wished = false, wish
	s.mu.Lock()
	defer s.mu.Unlock()
	s.committed = s.seq
	if s.publisher == nil {
		s.received = s.seq
	}
	if !s.checking && len(s.streams) > 0 {
		s.checking = true
		time.AfterFunc(lagInterval, s.endLaggards)
	}
	return s.ctx.Err()
}

// publish makes the records so far visible to the streams.
func (s *source) publish() {
	s.records.Publish()
	for _, f := range s.taking {
		f.frames.Publish()
	}
}

var (
	_ backend.Sink      = (*source)(nil)
	_ upstream.Consumer = (*source)(nil)
)
