// Package sse is a Caddy HTTP handler that turns the lines or JSON records of an upstream into Server-Sent Events.
package sse

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/lifecycle"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/direct"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/limits"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/nexthandler"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler turns the records of an upstream (lines, NDJSON, JSON text sequences, concatenated JSON, or Server-Sent
// Events) into an event stream (WHATWG HTML §9.2), as browsers' EventSource reads it. The upstream is a backend,
// or else the response of the next handler in the route, such as reverse_proxy.
//
// The server's write timeout and minimum rates do not end the streams of this handler; all other routes keep them.
// Options that take a template take text with placeholders: `{record}` is the record, `{record.a.b}` a value
// inside a JSON record, `{seq}` its number from 1; any other placeholder is evaluated once, when the stream opens.
type Handler struct {
	// Where the records come from. Default: the response of the next handler in the route.
	BackendRaw json.RawMessage `json:"backend,omitempty" caddy:"namespace=http.sse.backends inline_key=name"`

	// How the upstream's bytes become records: auto, lines, ndjson, json_seq, json or event_stream.
	// Default: auto, which goes by the upstream's Content-Type.
	Format string `json:"format,omitempty"`

	// The charset of the upstream's text, by its WHATWG name. An event stream is always utf-8. Default: from its
	// Content-Type, else utf-8.
	Charset string `json:"charset,omitempty"`

	// The size of the largest record, in bytes. Default: 1 MiB.
	MaxRecordSize int64 `json:"max_record_size,omitempty"`

	// What happens to a larger record: skip drops it and tells the client by an sse-gap event, truncate cuts it,
	// error ends the stream. Default: skip.
	Oversize string `json:"oversize,omitempty"`

	// Makes each line of text a JSON object: `{record}` is that object, and `{line}` the line as it arrived. Default: lines
	// stay text.
	Parse *Parse `json:"parse,omitempty"`

	// Template of the event's data. Default: {record}.
	Data *string `json:"data,omitempty"`

	// Template of the event's type. Default: none (browsers dispatch a message event).
	Event string `json:"event,omitempty"`

	// Template of the event's id. Default: none; a shared stream and a file have ids of their own.
	ID string `json:"id,omitempty"`

	// CEL expression that a record has to meet to be sent: `record` is the record, `seq` its number, and a
	// placeholder in braces its value. Default: every record is sent.
	Where string `json:"where,omitempty"`

	// What happens to a record that is not JSON where the format says that it is, or to a line that parse does not fit: pass,
	// skip or error, which ends the stream. Default: pass.
	OnInvalid string `json:"on_invalid,omitempty"`

	// Which requests are served, by their Accept header (RFC 9110 §12.5.1): standard, strict (text/event-stream
	// has to be named), negotiate (others get the upstream's response as it is) or off. Standard looks at GET and HEAD
	// only: a client that sends another method reads the stream it has asked for. Default: standard.
	Accept string `json:"accept,omitempty"`

	// The status of a refusal. Default: 406.
	AcceptStatus int `json:"accept_status,omitempty"`

	// The reconnection time that clients are told first of all. Default: none is told.
	Retry caddy.Duration `json:"retry,omitempty"`

	// How long a client may hear nothing before it gets a comment. Negative: no heartbeat. Default: 15s.
	Heartbeat caddy.Duration `json:"heartbeat,omitempty"`

	// How long a client may take nothing before it is dropped. Negative: for ever. Default: 1m.
	StallTimeout caddy.Duration `json:"stall_timeout,omitempty"`

	// How long a stream may last. Default: no limit.
	MaxDuration caddy.Duration `json:"max_duration,omitempty"`

	// A stream ends up to this much earlier, at random, so that clients do not come back all at once. Default: 0.
	MaxDurationJitter caddy.Duration `json:"max_duration_jitter,omitempty"`

	// The event that ends a stream whose upstream has come to a clean end. Default: none.
	End *End `json:"end,omitempty"`

	// A config reload or a stop ends the streams within this, or within half of the grace period where Caddy would cut
	// them off after that. Negative: at once. Default: 5s, and on a stop 2s, so that Caddy ends before its systemd unit
	// has it killed.
	Drain caddy.Duration `json:"drain,omitempty"`

	// When within drain streams end: spread, at random times, or wait, which lets them come to their own end until then.
	// Default: spread for GET and HEAD, wait for other methods, whose clients do not repeat them by themselves.
	DrainMode string `json:"drain_mode,omitempty"`

	// What a config reload does to streams that are open: end, or keep, which lets them live on under the config
	// they were opened with. Default: end for GET and HEAD, keep for other methods.
	OnReload string `json:"on_reload,omitempty"`

	// Which responses of the next handler are converted. Default: those of status 200 with a content type of records. If
	// format is set or the client's Accept names text/event-stream, JSON, text/plain and no type are converted, too.
	Match *caddyhttp.ResponseMatcher `json:"match,omitempty"`

	// Whether a browser that navigates to the stream gets a page that shows it. Default: false.
	Viewer bool `json:"viewer,omitempty"`

	// A name of this sse in metrics, logs and the admin API, which tells it from others. Default: none.
	Name string `json:"name,omitempty"`

	// Lets many clients share one upstream. Default: an upstream for each.
	Share *Share `json:"share,omitempty"`

	// How many streams there may be at a time; more are refused with 503. Default: no limit.
	MaxStreams int `json:"max_streams,omitempty"`

	// How many streams a client may have at a time; more are refused with 429. Default: no limit.
	MaxStreamsPerClient int `json:"max_streams_per_client,omitempty"`

	// What tells clients apart; takes placeholders. Default: {client_ip}.
	MaxStreamsKey string `json:"max_streams_key,omitempty"`

	// How many upstreams the streams that share them may have open at a time; more are refused with 503. Default: 1000.
	MaxSources int `json:"max_sources,omitempty"`

	backend       Backend // nil: the next handler
	backendConfig string
	defaultDrain  bool // the config has none
	logger        *zap.Logger

	// The engine, made of the options when the config loads.
	upstream *upstream.Config
	streams  *stream.Group
	direct   *direct.Server
	next     *nexthandler.Server
	share    *share.Server // nil: each stream has an upstream of its own
	limits   *limits.Limits
}

// Parse says how the fields of a line are found. Only lines of text are parsed: it goes with the formats auto and lines.
type Parse struct {
	// How lines are written: csv, regexp, logfmt or syslog (RFC 5424 and RFC 3164).
	Syntax string `json:"syntax"`

	// The names of the columns of csv, in their order; - omits a column. A line with another number of columns does not fit.
	Columns []string `json:"columns,omitempty"`

	// The regular expression (RE2) of regexp. Its named groups are the fields.
	Pattern string `json:"pattern,omitempty"`
}

// End is the event that tells clients that there will be no more.
type End struct {
	// The event's type.
	Event string `json:"event"`

	// The event's data. Default: its type.
	Data *string `json:"data,omitempty"`

	// Whether a client that reconnects after this event gets 204, which makes EventSource stay closed.
	Stop bool `json:"stop,omitempty"`
}

// Share says how clients share an upstream.
type Share struct {
	// Requests with the same key share; takes placeholders. Default: the backend with its placeholders expanded,
	// or, for the next handler, the request's host and URI.
	Key string `json:"key,omitempty"`

	// How many events are kept for clients that reconnect. Default: 256.
	History int `json:"history,omitempty"`

	// How many bytes of events are kept. Default: 1 MiB.
	HistorySize int64 `json:"history_size,omitempty"`

	// How many of the kept events a new client gets first. Default: 0.
	Replay int `json:"replay,omitempty"`

	// How long the upstream is kept after the last client has left. Negative: not at all. Default: 10s.
	Linger caddy.Duration `json:"linger,omitempty"`

	// How long a source is kept after its upstream has ended, for clients that come back for the rest. Negative: not at
	// all. Default: as linger.
	Keep caddy.Duration `json:"keep,omitempty"`

	// What happens to a client that falls behind the history: disconnect, after which it comes back and resumes,
	// or skip, which lets it go on with what is kept after an sse-gap event. Default: disconnect.
	Lag string `json:"lag,omitempty"`
}

// The values of options that are a choice.
const (
	acceptStandard  = "standard"
	acceptStrict    = "strict"
	acceptNegotiate = "negotiate"
	acceptOff       = "off"
	lagDisconnect   = "disconnect"
	lagSkip         = "skip"
)

var acceptModes = []string{acceptStandard, acceptStrict, acceptNegotiate, acceptOff}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.sse",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision compiles the config, so that nothing is left to go wrong when a request comes.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	if h.Name != "" {
		h.logger = h.logger.With(zap.String("name", h.Name))
	}
	if err := h.loadBackend(ctx); err != nil {
		return err
	}
	h.setDefaults()
	if err := h.compile(); err != nil {
		return err
	}
	if h.backend == nil && h.share != nil && !h.next.FindRoute(ctx, strconv.FormatUint(h.share.Generation, 10)) {
		h.share = nil
	}
	h.warnTemplates()
	if err := metrics.Register(ctx); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return lifecycle.Watch(ctx, h.onStarted, h.streams.Drain)
}

func (h *Handler) loadBackend(ctx caddy.Context) error {
	if h.BackendRaw == nil {
		return nil
	}
	h.backendConfig = string(h.BackendRaw)
	module, err := ctx.LoadModule(h, "BackendRaw")
	if err != nil {
		return fmt.Errorf("loading backend: %w", err)
	}
	h.backend = module.(Backend)
	if _, always := h.backend.(AlwaysShared); always && h.Share == nil {
		h.Share = new(Share)
	}
	return nil
}

func (h *Handler) setDefaults() {
	directive.SetDefault(&h.Format, records.Auto.String())
	directive.SetDefault(&h.MaxRecordSize, 1<<20)
	directive.SetDefault(&h.Oversize, "skip")
	directive.SetDefault(&h.OnInvalid, string(mapping.Pass))
	directive.SetDefault(&h.Accept, acceptStandard)
	directive.SetDefault(&h.AcceptStatus, http.StatusNotAcceptable)
	directive.SetDefault(&h.Heartbeat, caddy.Duration(15*time.Second))
	directive.SetDefault(&h.StallTimeout, caddy.Duration(time.Minute))
	h.defaultDrain = h.Drain == 0
	directive.SetDefault(&h.Drain, caddy.Duration(5*time.Second))
	directive.SetDefault(&h.MaxSources, 1000)
	directive.SetDefault(&h.MaxStreamsKey, "{http.vars.client_ip}")
	if h.Data == nil {
		data := "{record}"
		h.Data = &data
	}
	if h.Share != nil {
		h.Share.setDefaults()
	}
}

func (s *Share) setDefaults() {
	directive.SetDefault(&s.History, 256)
	directive.SetDefault(&s.HistorySize, 1<<20)
	directive.SetDefault(&s.Linger, caddy.Duration(10*time.Second))
	directive.SetDefault(&s.Keep, s.Linger)
	directive.SetDefault(&s.Lag, lagDisconnect)
}

// onStarted opens the source of a backend that upstreams push to: it must be there before the first client is.
func (h *Handler) onStarted() {
	if backend, ok := h.backend.(AlwaysShared); ok {
		h.share.Hold(backend.Upstream())
	}
}

// Cleanup lets go of what the config held on to.
func (h *Handler) Cleanup() error {
	if h.share != nil {
		h.share.Close()
	}
	if caddy.Exiting() {
		share.CloseAll()
	}
	return nil
}

var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
