// Package sse is a Caddy HTTP handler that turns the lines or JSON records of an upstream into Server-Sent Events.
//
// [Handler] and its fields are the options. To add a source of records, implement [Backend]: docs/backends.md shows how. To
// encode events in another Go program, use package eventstream.
package sse

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/lifecycle"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/direct"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/limits"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/nexthandler"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/rights"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/viewer"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler turns the records of an upstream into an event stream (Server-Sent Events, WHATWG HTML §9.2), which browsers
// read with EventSource. Records are lines, NDJSON, JSON text sequences, concatenated JSON, or events. The upstream is a
// backend or, without one, the response of the next handler in the route, such as reverse_proxy.
//
// A template is text with placeholders: `{record}` is the record, `{record.a.b}` is a value in a JSON record, and
// `{seq}` is the record's number, from 1. Any other placeholder belongs to the request. It is evaluated once, when the
// stream opens.
//
// A duration is a string such as "15s". As a number it is in nanoseconds.
//
// The server's write timeout and minimum rates do not end the streams of this handler. They still apply to other routes.
type Handler struct {
	// Where the records come from. Default: the response of the next handler in the route.
	BackendRaw json.RawMessage `json:"backend,omitempty" caddy:"namespace=http.sse.backends inline_key=name"`

	// How the upstream's bytes become records: auto, lines, ndjson, json_seq, json or event_stream.
	// Default: auto, which goes by the upstream's Content-Type.
	Format string `json:"format,omitempty"`

	// The charset of the upstream's text, by its WHATWG name, such as windows-1252. An event stream is always utf-8.
	// Default: the charset in the upstream's Content-Type, or else utf-8.
	Charset string `json:"charset,omitempty"`

	// The largest size of a record, in bytes, up to 1 GiB. Default: 1048576 (1 MiB).
	MaxRecordSize int64 `json:"max_record_size,omitempty"`

	// What happens to a larger record: skip drops it and tells the client with an sse-gap event, truncate cuts it to the
	// size, and error ends the stream with an sse-error event. Default: skip.
	Oversize string `json:"oversize,omitempty"`

	// Makes each line of text a JSON object: `{record}` is that object, and `{line}` the line as it arrived. Default: lines
	// stay text.
	Parse *Parse `json:"parse,omitempty"`

	// The template of the event's data. Default: {record}.
	Data *string `json:"data,omitempty"`

	// The template of the event's type. Default: no type, except that an upstream's events keep theirs. Browsers dispatch
	// an event without a type as message.
	Event string `json:"event,omitempty"`

	// The template of the event's id. Default: no id, except that shared streams and files give ids of their own, and an
	// upstream's events keep theirs.
	ID string `json:"id,omitempty"`

	// A CEL expression that selects the records to send. In it, `record` is the record, `seq` is its number, and a
	// placeholder in braces is its value. A record for which it fails is not sent. Default: every record is sent.
	Where string `json:"where,omitempty"`

	// What happens to a record that is not JSON although the format says so, or to a line that does not fit parse: pass
	// sends it as text, skip drops it, and error ends the stream with an sse-error event. Default: pass.
	OnInvalid string `json:"on_invalid,omitempty"`

	// Which requests are served, by their Accept header (RFC 9110 §12.5.1). standard serves GET and HEAD requests whose
	// header allows text/event-stream, and all requests of other methods. strict serves requests that name
	// text/event-stream. negotiate serves those that allow it, and gives others the upstream's response as it is. off
	// serves all. Default: standard.
	Accept string `json:"accept,omitempty"`

	// The status for a request that accept does not serve, from 400 to 599. Default: 406.
	AcceptStatus int `json:"accept_status,omitempty"`

	// The stream opens after this long even if the upstream has not answered, so that nothing between it and the client cuts
	// off a slow one. If the answer turns out not to be records, the client gets the error event with its status. HEAD, OPTIONS,
	// upgrades and requests for a part of a document wait for their answer. Shared streams open at once anyway. Default: the
	// stream opens when the upstream answers.
	OpenAfter caddy.Duration `json:"open_after,omitempty"`

	// How long a client should wait before it reconnects. It is sent first in each stream. Default: not sent, so the
	// client decides.
	Retry caddy.Duration `json:"retry,omitempty"`

	// A client gets a heartbeat when nothing has been sent to it for this long. Negative: no heartbeat. Default: 15s.
	Heartbeat caddy.Duration `json:"heartbeat,omitempty"`

	// The type of an event with empty data that is the heartbeat, for pages that watch for it. Default: the heartbeat is a
	// comment, of which pages learn nothing.
	HeartbeatEvent string `json:"heartbeat_event,omitempty"`

	// A client that takes nothing for this long is dropped. Negative: never. Default: 1m.
	StallTimeout caddy.Duration `json:"stall_timeout,omitempty"`

	// An upstream that sends nothing for this long, not even a blank line, has failed. Before its answer, that is a 504, and
	// after it, the client gets the error event. With share, the upstream is opened again. Default: an upstream may stay
	// silent for ever.
	UpstreamTimeout caddy.Duration `json:"upstream_timeout,omitempty"`

	// A stream ends after this long, and the client can reconnect. Default: no limit.
	MaxDuration caddy.Duration `json:"max_duration,omitempty"`

	// A stream ends earlier than max_duration by a random time up to this, so that clients do not reconnect all at once.
	// Default: 0.
	MaxDurationJitter caddy.Duration `json:"max_duration_jitter,omitempty"`

	// When a stream ends: text with placeholders of the request whose value is a time, as RFC 3339 or as Unix seconds, such
	// as {http.auth.user.exp}. A request for which that time has passed, or cannot be read, gets 403. Empty text is no
	// limit. Default: no limit.
	Expires string `json:"expires,omitempty"`

	// Routes that decide whether a client may have its stream, when it opens and again at each interval. Default: none.
	Recheck *Recheck `json:"recheck,omitempty"`

	// The codings that event streams are compressed with, if the client accepts them: zstd, gzip. A client gets the one that
	// it gives the highest weight to (RFC 9110 §12.5.3) or, where weights are equal, the first of them here. Each event still
	// leaves at once, and an encode handler around this one leaves the stream alone. Streams that share an upstream are
	// compressed once for all of them. Default: none.
	Compress []string `json:"compress,omitempty"`

	// The event that ends a stream after the upstream's clean end. With share, it also makes a clean end final: without
	// it, the upstream is opened again. Default: none.
	End *End `json:"end,omitempty"`

	// A CEL expression that selects the last record, as where has them. That record is sent, unless where holds it back, and
	// is the upstream's clean end: the upstream is closed, and what follows is not sent. With share, the end is final, as it
	// is with end. Default: the upstream ends by itself.
	EndWhen string `json:"end_when,omitempty"`

	// The event that tells a client that the upstream has failed. After it, the response is broken off. Default: the type
	// sse-error, with the reason in a JSON object.
	Error *Error `json:"error,omitempty"`

	// A CEL expression that selects the record that says that the upstream has failed, as where has them. That record is the
	// data of the error event, unless error has other data. With share, the upstream is opened again for clients that
	// return. If end_when selects the record, too, it is an error. Default: none.
	ErrorWhen string `json:"error_when,omitempty"`

	// What a client gets that names text/event-stream in its Accept header if the response would be a 429, 502, 503 or 504.
	// status gives it that response, at which EventSource gives up for good. retry gives it a stream with a random
	// reconnection time and the error event, which then ends. Default: status.
	OnUnavailable string `json:"on_unavailable,omitempty"`

	// How long the streams may take to end on a config reload or a stop. If Caddy's grace period would cut them off, they
	// take no more than half of it. Negative: they end at once. Default: 5s on a reload, and 2s on a stop, so that Caddy
	// has stopped before its systemd unit kills it.
	Drain caddy.Duration `json:"drain,omitempty"`

	// How streams end within drain: spread ends them at random times, wait lets them come to their own end and ends those
	// that are left. Default: spread for GET and HEAD, and wait for other methods, since clients do not repeat these by
	// themselves.
	DrainMode string `json:"drain_mode,omitempty"`

	// What a config reload does to open streams: end ends them, keep lets them continue under the config that they were
	// opened with. Default: end for GET and HEAD, keep for other methods.
	OnReload string `json:"on_reload,omitempty"`

	// Which responses of the next handler are converted. Default: those with status 200 and a content type for sequences,
	// such as application/x-ndjson. JSON, plain text and responses without a type are converted if format is set, or if
	// the client's Accept header names text/event-stream.
	Match *caddyhttp.ResponseMatcher `json:"match,omitempty"`

	// Whether a browser that navigates to the stream's URL gets a page that shows the stream. Default: false.
	Viewer bool `json:"viewer,omitempty"`

	// The name of this handler in metrics, logs and the admin API. Default: none.
	Name string `json:"name,omitempty"`

	// Lets clients share an upstream. Default: each client has its own.
	Share *Share `json:"share,omitempty"`

	// The most streams at a time. Further requests get 503. Default: no limit.
	MaxStreams int `json:"max_streams,omitempty"`

	// The most streams of one client at a time. Further requests get 429. Default: no limit.
	MaxStreamsPerClient int `json:"max_streams_per_client,omitempty"`

	// What tells clients apart for max_streams_per_client: text with placeholders of the request. Default:
	// {http.vars.client_ip}, which is {client_ip} in a Caddyfile.
	MaxStreamsKey string `json:"max_streams_key,omitempty"`

	// The most upstreams that share has open at a time. Requests for further ones get 503. Default: 1000.
	MaxSources int `json:"max_sources,omitempty"`

	backend       Backend // nil: the next handler
	backendConfig string
	recheckConfig string
	defaultDrain  bool // the config has none
	logger        *zap.Logger

	// The engine, made of the options when the config loads.
	upstream *upstream.Config
	streams  *stream.Group
	direct   *direct.Server
	next     *nexthandler.Server
	share    *share.Server // nil: each stream has an upstream of its own
	limits   *limits.Limits
	rights   *rights.Server // nil: requests need none
	page     viewer.Page
}

// The values of options that are a choice.
const (
	acceptStandard      = "standard"
	acceptStrict        = "strict"
	acceptNegotiate     = "negotiate"
	acceptOff           = "off"
	lagDisconnect       = "disconnect"
	onUnavailableStatus = "status"
	onUnavailableRetry  = "retry"
	lagSkip             = "skip"
)

var acceptModes = []string{acceptStandard, acceptStrict, acceptNegotiate, acceptOff}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.sse",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision loads the backend and compiles the options.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	if h.Name != "" {
		h.logger = h.logger.With(zap.String("name", h.Name))
	}
	if err := h.loadBackend(ctx); err != nil {
		return err
	}
	if h.Recheck != nil {
		h.recheckConfig = string(caddyconfig.JSON(h.Recheck, nil)) // before it is provisioned, which clears it
		if err := h.Recheck.Routes.Provision(ctx); err != nil {
			return fmt.Errorf("recheck: %w", err)
		}
	}
	h.setDefaults()
	if err := h.compile(); err != nil {
		return err
	}
	if h.backend == nil && h.share != nil && !h.next.FindRoute(ctx, strconv.FormatUint(h.share.Generation, 10)) {
		if h.opensByMethod() || h.Share.Stop != "" {
			return errors.New("open and stop need a route that no other invokes: give each route that invokes the named route an sse of its own")
		}
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
	var ok bool
	if h.backend, ok = module.(Backend); !ok {
		return fmt.Errorf("loading backend: %T is no backend: it must have the method Bind of backend.Backend", module)
	}
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
	directive.SetDefault(&h.OnUnavailable, onUnavailableStatus)
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

// Cleanup releases the upstreams that the config holds.
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
