package sse

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/history"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/parse"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/direct"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/limits"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/nexthandler"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/rights"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/viewer"
	"go.uber.org/zap"
)

// compile makes the engine from the options.
func (h *Handler) compile() error {
	if err := h.compileUpstream(); err != nil {
		return err
	}
	end, err := h.endFrame()
	if err != nil {
		return err
	}
	failure, err := h.errorEvent()
	if err != nil {
		return err
	}
	var heartbeat []byte // nil: a comment
	if h.HeartbeatEvent != "" {
		eventType, err := NewEventType(h.HeartbeatEvent)
		if err != nil {
			return fmt.Errorf("heartbeat: %w", err)
		}
		heartbeat = Event{Type: eventType}.AppendTo(nil)
	}
	h.streams = stream.NewGroup(stream.Config{
		OpenAfter: time.Duration(h.OpenAfter), Retry: time.Duration(h.Retry), Heartbeat: time.Duration(h.Heartbeat), StallTimeout: time.Duration(h.StallTimeout),
		MaxDuration: time.Duration(h.MaxDuration), MaxDurationJitter: time.Duration(h.MaxDurationJitter),
		DrainTime: time.Duration(h.Drain), DefaultDrain: h.defaultDrain, DrainMode: h.DrainMode, OnReload: h.OnReload,
		HasRights: h.Expires != "" || h.Recheck != nil, EndFrame: end, HeartbeatFrame: heartbeat, Error: failure, Report: h.upstream.Report,
		Compress: h.Compress,
	})
	m, err := mapping.Parse(mapping.Spec{
		Parse: h.Parse.spec(), Data: *h.Data, Event: h.Event, ID: h.ID, Where: h.Where, OnInvalid: mapping.OnInvalid(h.OnInvalid),
	})
	if err != nil {
		return err
	}
	ending, err := mapping.ParseEnding(mapping.EndingSpec{Parse: h.Parse.spec(), End: h.EndWhen, Error: h.ErrorWhen})
	if err != nil {
		return err
	}
	h.direct = &direct.Server{Upstream: h.upstream, Streams: h.streams, Mapping: m, Ending: ending}
	h.next = &nexthandler.Server{Config: h.upstream, Streams: h.streams, Direct: h.direct}
	if h.Expires != "" || h.Recheck != nil {
		h.rights = &rights.Server{Expires: h.Expires, Streams: h.streams}
		if h.Recheck != nil {
			h.rights.Routes, h.rights.Interval = h.Recheck.Routes, time.Duration(h.Recheck.Interval)
		}
	}
	if h.Viewer {
		h.page = viewer.New(h.ownTypes())
	}
	client, err := argument.ParseKey(h.MaxStreamsKey)
	if err != nil {
		return fmt.Errorf("max_streams_key: %w", err)
	}
	h.limits = &limits.Limits{Most: h.MaxStreams, MostPerClient: h.MaxStreamsPerClient, Client: client, Streams: h.streams}
	return h.compileShare()
}

func (h *Handler) compileUpstream() (err error) {
	name := backendName(h.backend)
	c := &upstream.Config{
		IsNext: h.backend == nil, Shared: upstream.AlwaysShared(h.backend), MaxSize: int(h.MaxRecordSize), Match: h.Match, Timeout: time.Duration(h.UpstreamTimeout),
		Report: upstream.NewReporter(h.Name, name, h.logger, metrics.New(h.Name, name, stream.EndReasons), h.MaxRecordSize, h.Oversize),
	}
	if c.Format, err = records.ParseFormat(h.Format); err != nil {
		return fmt.Errorf("format: %w", err)
	}
	if h.Charset != "" {
		if c.Charset, err = records.LookupCharset(h.Charset); err != nil {
			return fmt.Errorf("charset: %w", err)
		}
	}
	if h.charsetOfEventStream() {
		return errCharsetOfEventStream
	}
	if h.parsesOtherThanLines() {
		return errParseOfFormat
	}
	if h.Parse != nil && h.Parse.Syntax == "" {
		return fmt.Errorf("parse: syntax must be one of %s", strings.Join(parse.Syntaxes, ", "))
	}
	if c.Oversize, err = records.ParseOversize(h.Oversize); err != nil {
		return fmt.Errorf("max_record_size: %w", err)
	}
	h.upstream = c
	return nil
}

func (h *Handler) compileShare() error {
	s := h.Share
	if s == nil {
		return nil
	}
	key, err := argument.ParseKey(s.Key)
	if err != nil {
		return fmt.Errorf("share: %w", err)
	}
	ending := h.direct.Ending
	if ending.PerRequest() {
		return errEndingPerRequest
	}
	live, err := s.liveFrame()
	if err != nil {
		return err
	}
	h.share = share.NewServer(share.Config{
		LiveFrame: live, Open: s.Open, Stop: s.Stop,
		Key: key, MaxSources: h.MaxSources,
		Kept: history.Limits{Count: s.History, Size: int(s.HistorySize)}, Replay: s.Replay,
		Linger: time.Duration(s.Linger), Keep: time.Duration(s.Keep),
		AfterReload: max(time.Duration(h.Retry), time.Second) + 2*max(time.Duration(h.Drain), 0) + 10*time.Second,
		SkipLag:     s.Lag == lagSkip, Ends: h.End != nil || h.EndWhen != "", Ending: ending,
		Scope:   Key(h.upstream.Report.Backend, h.backendConfig),
		Framing: Key(h.Format, h.Charset, strconv.FormatInt(h.MaxRecordSize, 10), h.Oversize, ending.Key(), h.guards()),
		Mapping: h.direct.Mapping, Upstream: h.upstream, Streams: h.streams, Direct: h.direct, Store: h.store,
	})
	return nil
}

// guards returns the options of this handler that protect the next handler's records. They are a part of a source's key, so that only
// clients that have passed the same checks join it, also after a reload.
func (h *Handler) guards() string {
	if h.backend != nil {
		return ""
	}
	return Key(h.Expires, h.recheckConfig)
}

// endFrame returns the frame of the end event, or nil if the config has none.
func (h *Handler) endFrame() ([]byte, error) {
	if h.End == nil {
		return nil, nil
	}
	if h.End.Data == nil {
		h.End.Data = &h.End.Event
	}
	if err := checkEventType("end", h.End.Event); err != nil {
		return nil, err
	}
	eventType, _ := NewEventType(h.End.Event)
	event := Event{Type: eventType, Data: []byte(*h.End.Data)}
	if h.End.Stop {
		event = eventstream.EndEvent(event.Type, event.Data)
	}
	return event.AppendTo(nil), nil
}

// ownTypes returns the types that the config gives to the server's own events.
func (h *Handler) ownTypes() (t viewer.Types) {
	t.Heartbeat = h.HeartbeatEvent
	if h.Error != nil {
		t.Error = h.Error.Event
	}
	if h.Share != nil && h.Share.Live != nil {
		t.Live = h.Share.Live.Event
	}
	return t
}

// liveFrame returns the frame of the live event, or nil if the config has none.
func (s *Share) liveFrame() ([]byte, error) {
	if s.Live == nil {
		return nil, nil
	}
	if s.Live.Data == nil {
		s.Live.Data = &s.Live.Event
	}
	eventType, err := NewEventType(s.Live.Event)
	if err != nil {
		return nil, fmt.Errorf("live: %w", err)
	}
	return Event{Type: eventType, Data: []byte(*s.Live.Data)}.AppendTo(nil), nil
}

// errorEvent returns the maker of error events.
func (h *Handler) errorEvent() (*frame.ErrorEvent, error) {
	if h.Error == nil {
		return frame.DefaultError, nil
	}
	event, err := frame.NewErrorEvent(h.Error.Event, h.Error.Data)
	if err != nil {
		return nil, fmt.Errorf("error: %w", err)
	}
	return event, nil
}

// warnTemplates logs a warning for a template that seems to lack its braces.
func (h *Handler) warnTemplates() {
	for _, t := range []struct{ option, text string }{{"data", *h.Data}, {"event", h.Event}, {"id", h.ID}} {
		if strings.HasPrefix(t.text, "record.") {
			h.logger.Warn("a template without braces is sent as it stands: write {"+t.text+"} for the record's value", zap.String("option", t.option))
		}
	}
}

// backendName returns the name of a backend in metrics and logs. nil is the next handler.
func backendName(b Backend) string {
	if b == nil {
		return "next"
	}
	id := string(b.(caddy.Module).CaddyModule().ID)
	return id[strings.LastIndexByte(id, '.')+1:]
}
