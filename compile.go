package sse

import (
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/ratelog"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// compile prepares what is the same for every stream.
func (h *Handler) compile() (err error) {
	h.meters = metrics.New(h.Name, h.backendName(), endReasons)
	openStreams.count(h.Name, sent{}) // so that its series is there from the start
	h.upstreamWarnings, h.sizeWarnings, h.refusalWarnings = ratelog.Warnings(), ratelog.Warnings(), ratelog.Warnings()
	if h.framing.format, err = records.ParseFormat(h.Format); err != nil {
		return fmt.Errorf("format: %w", err)
	}
	if h.Charset != "" {
		if h.framing.charset, err = records.LookupCharset(h.Charset); err != nil {
			return fmt.Errorf("charset: %w", err)
		}
	}
	if h.charsetOfEventStream() {
		return errCharsetOfEventStream
	}
	if h.framing.oversize, err = records.ParseOversize(h.Oversize); err != nil {
		return fmt.Errorf("max_record_size: %w", err)
	}
	h.framing.maxSize = int(h.MaxRecordSize)

	h.mapping, err = mapping.Parse(mapping.Spec{
		Data: *h.Data, Event: h.Event, ID: h.ID, Where: h.Where, OnInvalid: mapping.OnInvalid(h.OnInvalid),
	})
	if err != nil {
		return err
	}
	if h.streamsKey, err = argument.ParseKey(h.MaxStreamsKey); err != nil {
		return fmt.Errorf("max_streams_key: %w", err)
	}
	if h.Share != nil {
		if h.Share.key, err = argument.ParseKey(h.Share.Key); err != nil {
			return fmt.Errorf("share: %w", err)
		}
	}
	h.perClient = h.mapping.PerRequest()
	if h.Share != nil {
		h.feedKey = h.keyOfFeed()
	}
	return h.compileEnd()
}

func (h *Handler) compileEnd() error {
	if h.End == nil {
		return nil
	}
	if h.End.Event == "" {
		return errors.New("end: the event must have a name")
	}
	if h.End.Data == nil {
		h.End.Data = &h.End.Event
	}
	eventType, err := NewEventType(h.End.Event)
	if err != nil {
		return fmt.Errorf("end: %w", err)
	}
	event := Event{Type: eventType, Data: []byte(*h.End.Data)}
	if h.End.Stop {
		event = eventstream.EndEvent(event.Type, event.Data)
	}
	h.endFrame = event.AppendTo(nil)
	return nil
}

// warnTemplates says in the log what looks like a template whose braces were forgotten.
func (h *Handler) warnTemplates() {
	for _, t := range []struct{ option, text string }{{"data", *h.Data}, {"event", h.Event}, {"id", h.ID}} {
		if strings.HasPrefix(t.text, "record.") {
			h.logger.Warn("a template without braces is sent as it stands: write {"+t.text+"} for the record's value", zap.String("option", t.option))
		}
	}
}

// Validate refuses what no stream could be served with.
func (h *Handler) Validate() error {
	oneOf := func(option, value string, values ...string) error {
		for _, v := range values {
			if v == value {
				return nil
			}
		}
		return fmt.Errorf("%s must be one of %v, not %q", option, values, value)
	}
	err := errors.Join(
		oneOf("on_invalid", h.OnInvalid, string(mapping.Pass), string(mapping.Skip), string(mapping.Fail)),
		oneOf("accept", h.Accept, acceptStandard, acceptStrict, acceptNegotiate, acceptOff),
		oneOf("drain_mode", h.DrainMode, "", drainSpread, drainWait),
		oneOf("on_reload", h.OnReload, "", onReloadEnd, onReloadKeep),
	)
	if nameErr := metrics.CheckName(h.Name); h.Name != "" && nameErr != nil {
		err = errors.Join(err, fmt.Errorf("name %w", nameErr))
	}
	if h.AcceptStatus < 400 || h.AcceptStatus > 599 {
		err = errors.Join(err, fmt.Errorf("accept_status must be an error status from 400 to 599, not %d", h.AcceptStatus))
	}
	if h.MaxRecordSize < 1 || h.MaxRecordSize > directive.MaxSize {
		err = errors.Join(err, fmt.Errorf("max_record_size must be from 1 byte to 1 GiB, not %d bytes", h.MaxRecordSize))
	}
	if h.Retry < 0 || h.MaxDuration < 0 || h.MaxDurationJitter < 0 {
		err = errors.Join(err, errors.New("retry, max_duration and max_duration_jitter must not be negative"))
	}
	for _, option := range h.durations() {
		if option.value > 0 && option.value < directive.ShortestDuration {
			err = errors.Join(err, fmt.Errorf("%s must be at least %s, not %s", option.name, directive.ShortestDuration, option.value))
		}
	}
	if h.MaxDurationJitter > h.MaxDuration {
		err = errors.Join(err, errors.New("max_duration_jitter must not be longer than max_duration"))
	}
	if h.MaxStreams < 0 || h.MaxStreamsPerClient < 0 || h.MaxSources < 0 {
		err = errors.Join(err, errors.New("max_streams, max_streams_per_client and max_sources must not be negative"))
	}
	if s := h.Share; s != nil {
		err = errors.Join(err, oneOf("lag", s.Lag, lagDisconnect, lagSkip))
		if s.History < 1 || s.Replay < 0 {
			err = errors.Join(err, errors.New("history must keep at least one event, and replay must not be negative"))
		}
		if s.HistorySize < 1 || s.HistorySize > directive.MaxSize {
			err = errors.Join(err, fmt.Errorf("history_size must be from 1 byte to 1 GiB, not %d bytes", s.HistorySize))
		}
	}
	if h.backend != nil && h.Match != nil {
		err = errors.Join(err, errMatchOfBackend)
	}
	return errors.Join(err, checkMatch(h.Match))
}

var errMatchOfBackend = errors.New("match is for responses of the next handler: remove it or the backend")
