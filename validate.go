package sse

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/compress"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/parse"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/rights"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

// Validate returns an error for options that are wrong, or that contradict each other.
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
		oneOf("accept", h.Accept, acceptModes...),
		oneOf("on_unavailable", h.OnUnavailable, onUnavailableStatus, onUnavailableRetry),
		oneOf("drain_mode", h.DrainMode, "", stream.DrainSpread, stream.DrainWait),
		oneOf("on_reload", h.OnReload, "", stream.OnReloadEnd, stream.OnReloadKeep),
	)
	if nameErr := metrics.CheckName(h.Name); h.Name != "" && nameErr != nil {
		err = errors.Join(err, fmt.Errorf("name %w", nameErr))
	}
	err = errors.Join(err, checkEventType("heartbeat", h.HeartbeatEvent))
	if h.UpstreamTimeout < 0 || h.OpenAfter < 0 {
		err = errors.Join(err, errors.New("upstream_timeout and open_after must not be negative"))
	}
	if h.timesOutPushes() {
		err = errors.Join(err, errTimeoutOfPushes)
	}
	if h.heartbeatIsEnd() {
		err = errors.Join(err, errHeartbeatIsEnd)
	}
	if expiresErr := rights.CheckExpires(h.Expires); expiresErr != nil {
		err = errors.Join(err, fmt.Errorf("expires: %w", expiresErr))
	}
	if h.Recheck != nil && (h.Recheck.Interval <= 0 || len(h.Recheck.Routes) == 0) {
		err = errors.Join(err, errors.New("recheck must have an interval above zero, and routes"))
	}
	if h.passesWithoutRights() {
		err = errors.Join(err, errPassesWithoutRights)
	}
	if !isErrorStatus(h.AcceptStatus) {
		err = errors.Join(err, fmt.Errorf("accept_status must be an error status from 400 to 599, not %d", h.AcceptStatus))
	}
	if h.MaxRecordSize < 1 || h.MaxRecordSize > directive.MaxSize {
		err = errors.Join(err, fmt.Errorf("max_record_size must be from 1 byte to 1 GiB, not %d bytes", h.MaxRecordSize))
	}
	if compressErr := compress.Check(h.Compress); compressErr != nil {
		err = errors.Join(err, fmt.Errorf("compress %w", compressErr))
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
		if s.History < 1 {
			err = errors.Join(err, errors.New("history must keep at least one event"))
		}
		if s.Replay < -1 {
			err = errors.Join(err, fmt.Errorf("replay must be a number of events, or -1 for all, not %d", s.Replay))
		}
		err = errors.Join(err, h.checkAnswers())
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

type namedDuration struct {
	name  string
	value time.Duration
}

func (h *Handler) durations() []namedDuration {
	all := []namedDuration{
		{"retry", time.Duration(h.Retry)}, {"heartbeat", time.Duration(h.Heartbeat)}, {"stall_timeout", time.Duration(h.StallTimeout)}, {"upstream_timeout", time.Duration(h.UpstreamTimeout)}, {"open_after", time.Duration(h.OpenAfter)},
		{"max_duration", time.Duration(h.MaxDuration)}, {"max_duration_jitter", time.Duration(h.MaxDurationJitter)}, {"drain", time.Duration(h.Drain)},
	}
	if h.Recheck != nil {
		all = append(all, namedDuration{"recheck", time.Duration(h.Recheck.Interval)})
	}
	if h.Share != nil {
		all = append(all, namedDuration{"linger", time.Duration(h.Share.Linger)}, namedDuration{"keep", time.Duration(h.Share.Keep)})
	}
	return all
}

// checkMatch returns an error for a status that no response has. A status of one digit stands for its class.
func checkMatch(match *caddyhttp.ResponseMatcher) error {
	if match == nil {
		return nil
	}
	for _, status := range match.StatusCode {
		if status < 1 || status > 5 && status < 100 || status > 599 {
			return fmt.Errorf("match: no response has status %d", status)
		}
	}
	return nil
}

// isErrorStatus reports whether accept may refuse requests with this status.
func isErrorStatus(status int) bool { return 400 <= status && status <= 599 }

// charsetOfEventStream reports whether the config has a charset other than UTF-8 for an event stream.
func (h *Handler) charsetOfEventStream() bool {
	charset, err := records.LookupCharset(h.Charset)
	return h.Format == records.EventStream.String() && err == nil && charset.String() != "utf-8"
}

var errCharsetOfEventStream = errors.New("an event stream is always utf-8: remove charset, or the format event_stream")

// parsesOtherThanLines reports whether the config has parse with a format without lines.
func (h *Handler) parsesOtherThanLines() bool {
	format, err := records.ParseFormat(cmp.Or(h.Format, records.Auto.String()))
	return h.Parse != nil && err == nil && !format.IsLines()
}

var errParseOfFormat = errors.New("parse is for lines of text: remove it, or have format be auto or lines")

// checkEventType returns an error for a type that the event of an option cannot have.
func checkEventType(option, name string) error {
	if _, err := NewEventType(name); err != nil {
		return fmt.Errorf("%s: %w", option, err)
	}
	if name == frame.TypeGap || name == frame.TypeError {
		return fmt.Errorf("%s: events of the type %s tell of something else: choose another type", option, name)
	}
	return nil
}

// heartbeatIsEnd reports whether a heartbeat has the same type as an event that ends a stream.
func (h *Handler) heartbeatIsEnd() bool {
	name := h.HeartbeatEvent
	return name != "" && (h.End != nil && name == h.End.Event || h.Error != nil && name == h.Error.Event)
}

var errHeartbeatIsEnd = errors.New("heartbeat: events of its type say that the stream ends: choose another type")

// timesOutPushes reports whether the config has upstream_timeout for a backend that senders push to.
func (h *Handler) timesOutPushes() bool {
	return h.UpstreamTimeout > 0 && upstream.AlwaysShared(h.backend)
}

var errTimeoutOfPushes = errors.New("upstream_timeout is for upstreams that are asked: remove it, as to open this backend again would not make others send")

// passesWithoutRights reports whether a client can get responses that do not end when it loses its rights.
func (h *Handler) passesWithoutRights() bool {
	return h.Accept == acceptNegotiate && h.backend == nil && (h.Expires != "" || h.Recheck != nil)
}

var errPassesWithoutRights = errors.New("accept negotiate gives the next handler's own responses to clients, which neither expires nor recheck ends: choose another accept")

// checkAnswers checks live, open and stop.
func (h *Handler) checkAnswers() (err error) {
	s := h.Share
	if s.Live != nil {
		err = checkEventType("live", s.Live.Event)
	}
	if h.liveIsAnother() {
		err = errors.Join(err, fmt.Errorf("live: events of the type %s tell of something else: choose another type", s.Live.Event))
	}
	for _, method := range s.Open {
		if methodErr := checkMethod(method); methodErr != nil {
			err = errors.Join(err, fmt.Errorf("open: %w", methodErr))
		}
	}
	switch {
	case len(s.Open) == 0 && s.Stop == "":
		return err
	case s.Stop != "" && checkMethod(s.Stop) != nil:
		err = errors.Join(err, fmt.Errorf("stop: %w", checkMethod(s.Stop)))
	case slices.Contains(s.Open, s.Stop) || s.Stop == http.MethodGet:
		err = errors.Join(err, fmt.Errorf("stop: %s requests are for streams: choose another method", s.Stop))
	}
	if h.backend == nil && s.Key == "" {
		err = errors.Join(err, errors.New("open and stop need a backend, or a key of share: without either, a source is one of GET requests"))
	}
	if h.backend != nil && upstream.AlwaysShared(h.backend) {
		err = errors.Join(err, fmt.Errorf("open and stop are not for backend %s, whose upstream is always open", backendName(h.backend)))
	}
	if h.Accept == acceptNegotiate && len(s.Open) > 0 {
		err = errors.Join(err, errors.New("open and accept negotiate do not go together: a client that takes no event stream would open an upstream by any method"))
	}
	return err
}

// liveIsAnother reports whether the live event has the same type as another event in the config.
func (h *Handler) liveIsAnother() bool {
	live := h.Share.Live
	if live == nil || live.Event == "" {
		return false
	}
	return live.Event == h.HeartbeatEvent || h.End != nil && live.Event == h.End.Event || h.Error != nil && live.Event == h.Error.Event
}

// checkMethod returns an error for a method that cannot have a stream.
func checkMethod(method string) error {
	switch method {
	case http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodConnect:
		return fmt.Errorf("a request of method %s is for no stream", method)
	}
	if !httpguts.ValidHeaderFieldName(method) || method != strings.ToUpper(method) {
		return fmt.Errorf("%q is no method, such as POST", method)
	}
	return nil
}

// sharesEndingPerRequest reports whether the end of a shared upstream depends on a request.
func (h *Handler) sharesEndingPerRequest() bool {
	if h.Share == nil {
		return false
	}
	ending, err := mapping.ParseEnding(mapping.EndingSpec{End: h.EndWhen, Error: h.ErrorWhen})
	return err == nil && ending.PerRequest()
}

var errEndingPerRequest = errors.New("end_when and error_when must not depend on the request with share: its clients have one upstream, which ends for all")

// spec returns the option for package mapping. It returns the zero Spec for nil.
func (p *Parse) spec() parse.Spec {
	if p == nil {
		return parse.Spec{}
	}
	return parse.Spec{Syntax: p.Syntax, Columns: p.Columns, Pattern: p.Pattern}
}

func checkCharset(name string) error {
	if name == "" {
		return errors.New("must have a name, such as utf-8")
	}
	_, err := records.LookupCharset(name)
	return err
}

func checkTemplate(text string) error {
	_, err := mapping.ParseTemplate(text)
	return err
}
