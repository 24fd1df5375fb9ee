// Package sse is a Caddy HTTP handler that turns lines, JSON records or events from an upstream into Server-Sent Events.
//
// The fields of [Handler] are the options. To add a source of records, implement [Backend]: docs/backends.md shows how. To encode
// events in a Go program without Caddy, use package eventstream.
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
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stores"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/viewer"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler turns the records from an upstream into an event stream (Server-Sent Events, WHATWG HTML §9.2), which browsers
// read with EventSource. Records are lines, NDJSON, JSON text sequences, concatenated JSON, or events. The upstream is a
// backend. Without a backend, it is the response of the next handler in the route, such as reverse_proxy.
//
// A template is text with placeholders: `{record}` is the record, `{record.a.b}` is a value in a JSON record, and
// `{seq}` is the record's number, from 1. A value can be escaped: `{record.a|json}`, `{record.a|html}`, `{record.a|url}`. Any
// other placeholder is one of Caddy's. It is evaluated once, when the stream opens.
//
// A duration is a string such as "15s". As a number, it is in nanoseconds.
//
// The server's write timeout and minimum rates do not end the streams of this handler. They still apply to other routes.
type Handler struct {
	// Where the records come from. Default: the response of the next handler in the route.
	BackendRaw json.RawMessage `json:"backend,omitempty" caddy:"namespace=http.sse.backends inline_key=name"`

	// How the upstream's bytes become records: auto, lines, ndjson, json_seq, json or event_stream.
	// Default: auto, which depends on the upstream's Content-Type.
	Format string `json:"format,omitempty"`

	// The charset of the upstream's text, by its WHATWG name, such as windows-1252. An event stream is always utf-8.
	// Default: the charset in the upstream's Content-Type, or else utf-8.
	Charset string `json:"charset,omitempty"`

	// The largest size of a record, in bytes, up to 1 GiB. Default: 1048576 (1 MiB).
	MaxRecordSize int64 `json:"max_record_size,omitempty"`

	// What happens to a larger record: skip drops it and tells the client with an sse-gap event, truncate cuts it to the
	// size, and error ends the stream with an sse-error event. Default: skip.
	Oversize string `json:"oversize,omitempty"`

	// Parses each line of text into a JSON object: `{record}` is the object, and `{line}` is the line as it arrived. Default:
	// lines are not parsed.
	Parse *Parse `json:"parse,omitempty"`

	// The template for the event's data. Default: {record}.
	Data *string `json:"data,omitempty"`

	// The template for the event's type. Default: events from an event stream keep their types, and other events have none.
	// Browsers dispatch an event without a type as message.
	Event string `json:"event,omitempty"`

	// The template for the event's id. Default: events from an event stream keep their ids. In shared streams and for files,
	// the handler makes ids. Other events have none.
	ID string `json:"id,omitempty"`

	// A CEL expression that selects the records to send. In it, `record` is the record, `seq` is its number, and a
	// placeholder in braces is its value. A record for which it fails is not sent. Default: every record is sent.
	Where string `json:"where,omitempty"`

	// What happens to a record that is not JSON although the format says so, and to a line that does not fit parse: pass sends
	// it as text, skip drops it, and error ends the stream with an sse-error event. Default: pass.
	OnInvalid string `json:"on_invalid,omitempty"`

	// Which requests get an event stream, by their Accept header (RFC 9110 §12.5.1). standard serves GET and HEAD requests
	// whose header allows text/event-stream, and all requests with other methods. strict serves requests whose header names
	// text/event-stream. negotiate serves requests whose header allows it, and answers others with the upstream's own
	// response. off serves all requests. Default: standard.
	Accept string `json:"accept,omitempty"`

	// The status for a request that accept does not serve, from 400 to 599. Default: 406.
	AcceptStatus int `json:"accept_status,omitempty"`

	// The stream opens after this time even if the upstream has not answered, so that no proxy in between gives up on a slow
	// upstream. If the upstream then answers without records, the client gets the error event with the status of that answer.
	// HEAD, OPTIONS, upgrades and requests for a part of a document always wait for the answer. Shared streams open at once
	// anyway. Default: the stream opens when the upstream answers.
	OpenAfter caddy.Duration `json:"open_after,omitempty"`

	// How long a client should wait before it reconnects. Each stream begins with it. Default: it is not sent, and the client
	// decides.
	Retry caddy.Duration `json:"retry,omitempty"`

	// A client gets a heartbeat after this time without anything sent to it. Negative: no heartbeats. Default: 15s.
	Heartbeat caddy.Duration `json:"heartbeat,omitempty"`

	// Makes the heartbeat an event with this type and empty data, so that a page can watch for it. Default: the heartbeat is a
	// comment, which a page cannot see.
	HeartbeatEvent string `json:"heartbeat_event,omitempty"`

	// A client that takes no data for this time is dropped. Negative: never. Default: 1m.
	StallTimeout caddy.Duration `json:"stall_timeout,omitempty"`

	// An upstream that sends nothing for this time, not even a blank line, has failed. If it has not answered yet, the response
	// is a 504. Otherwise, the client gets the error event. With share, the upstream is opened again. Default: an upstream may
	// be silent for ever.
	UpstreamTimeout caddy.Duration `json:"upstream_timeout,omitempty"`

	// A stream ends after this time, and the client can reconnect. Default: no limit.
	MaxDuration caddy.Duration `json:"max_duration,omitempty"`

	// A stream ends up to this time earlier than max_duration, at random, so that clients do not all reconnect at the same
	// moment. Default: 0.
	MaxDurationJitter caddy.Duration `json:"max_duration_jitter,omitempty"`

	// The time at which a stream ends: text with placeholders, such as {http.auth.user.exp}. Its value is a time in RFC 3339 or
	// in Unix seconds. If that time has passed, or is not a valid time, the response is a 403. An empty value means no limit.
	// Default: no limit.
	Expires string `json:"expires,omitempty"`

	// Routes that check whether a client may have its stream, before it opens and again at each interval. Default: none.
	Recheck *Recheck `json:"recheck,omitempty"`

	// The content codings for event streams, if the client accepts them: zstd, gzip. A client gets the coding with the highest
	// weight in its Accept-Encoding header (RFC 9110 §12.5.3), or else the first one here. Each event is still sent at once. An
	// outer encode handler leaves the stream alone. Streams that share an upstream are compressed once for all of them.
	// Default: none.
	Compress []string `json:"compress,omitempty"`

	// The event that ends a stream after the upstream's clean end. With share, this option also makes a clean end final. Without
	// it, the upstream is opened again. Default: none.
	End *End `json:"end,omitempty"`

	// A CEL expression, like that in where, that selects the last record. That record is sent, unless where filters it out. It is
	// the upstream's clean end: the upstream is closed, and later records are not sent. With share, the end is final. Default:
	// the upstream ends by itself.
	EndWhen string `json:"end_when,omitempty"`

	// The event that tells a client that the upstream has failed. After it, the response is broken off. Default: an event with
	// the type sse-error and a JSON object with the reason.
	Error *Error `json:"error,omitempty"`

	// A CEL expression, like that in where, that selects a record with which the upstream reports its failure. That record
	// becomes the data of the error event, unless error has data. With share, the upstream is opened again for clients that
	// reconnect. If end_when also selects the record, it counts as a failure. Default: none.
	ErrorWhen string `json:"error_when,omitempty"`

	// What happens if the response would be a 429, 502, 503 or 504, and the client's Accept header names text/event-stream.
	// status sends that response, after which EventSource does not reconnect. retry sends a short stream with a random
	// reconnection time and the error event, so that EventSource reconnects. Default: status.
	OnUnavailable string `json:"on_unavailable,omitempty"`

	// The time in which streams end on a config reload or a shutdown. If Caddy's grace period applies, they take half of that at
	// most. Negative: they end at once. Default: 5s on a reload, and 2s on a shutdown, so that Caddy exits before its systemd
	// unit kills it.
	Drain caddy.Duration `json:"drain,omitempty"`

	// How streams end within drain: spread ends them at random times, and wait ends them at the last moment, so that they can
	// come to their own end. Default: spread for GET and HEAD, and wait for other methods, which clients do not repeat by
	// themselves.
	DrainMode string `json:"drain_mode,omitempty"`

	// What a config reload does to open streams: end ends them, and keep lets them continue with the old config. Default: end
	// for GET and HEAD, and keep for other methods.
	OnReload string `json:"on_reload,omitempty"`

	// Which responses of the next handler become event streams. Default: those with the status 200 and a content type for
	// records, such as application/x-ndjson. JSON, plain text and responses without a type become event streams if format is
	// set, or if the client's Accept header names text/event-stream.
	Match *caddyhttp.ResponseMatcher `json:"match,omitempty"`

	// Whether a browser that opens the stream's URL as a page gets a page that shows the stream. Default: false.
	Viewer bool `json:"viewer,omitempty"`

	// The name of this handler in metrics, logs and the admin API. Default: none.
	Name string `json:"name,omitempty"`

	// Makes clients share an upstream. Default: each client has its own.
	Share *Share `json:"share,omitempty"`

	// The most streams at a time. Further requests get 503. Default: no limit.
	MaxStreams int `json:"max_streams,omitempty"`

	// The most streams of one client at a time. Further requests get 429. Default: no limit.
	MaxStreamsPerClient int `json:"max_streams_per_client,omitempty"`

	// What identifies a client for max_streams_per_client: text with placeholders. Default: {http.vars.client_ip}, which is
	// {client_ip} in a Caddyfile.
	MaxStreamsKey string `json:"max_streams_key,omitempty"`

	// The most shared upstreams that are open at a time. Requests for further ones get 503. Default: 1000.
	MaxSources int `json:"max_sources,omitempty"`

	backend       Backend // nil: the next handler
	backendConfig string
	recheckConfig string
	defaultDrain  bool // Drain is the default, not from the config
	logger        *zap.Logger

	engine
}

// engine holds the parts of the engine. They are made from the options when the config loads.
type engine struct {
	upstream *upstream.Config
	streams  *stream.Group
	direct   *direct.Server
	next     *nexthandler.Server
	share    *share.Server      // nil: streams do not share upstreams
	store    *stores.Connection // nil: this process's memory
	limits   *limits.Limits
	rights   *rights.Server // nil: without expires and recheck
	page     viewer.Page
}

// The values of options with a fixed set of values.
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
		h.recheckConfig = string(caddyconfig.JSON(h.Recheck, nil)) // before Provision, which clears the raw routes
		if err := h.Recheck.Routes.Provision(ctx); err != nil {
			return fmt.Errorf("recheck: %w", err)
		}
	}
	h.setDefaults()
	if err := h.connectStore(ctx); err != nil {
		return err
	}
	if err := h.compile(); err != nil {
		return err
	}
	if h.backend == nil && h.share != nil && !h.next.FindRoute(ctx, strconv.FormatUint(h.share.Generation, 10)) {
		if h.opensByMethod() || h.Share.Stop != "" {
			return errors.New("open and stop need a route that no other invokes: give each route that invokes the named route an sse of its own")
		}
		h.share = nil
	}
	if h.backend == nil && h.store != nil && h.share != nil && !h.next.KnowsRoute() {
		return errors.New("a store needs a route that can be told from others, with the next handler as the upstream: see the warning above")
	}
	h.warnTemplates()
	if err := metrics.Register(ctx); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return lifecycle.Watch(ctx, h.onStarted, h.onStopping)
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

// onStarted opens the source of a backend with a single upstream, which must be open before the first client comes.
func (h *Handler) onStarted() {
	if backend, ok := h.backend.(AlwaysShared); ok {
		h.share.Hold(backend.Upstream())
	}
}

// onStopping ends the streams, each within drain. A process that exits hands its sources over to others.
func (h *Handler) onStopping(grace time.Duration) {
	h.streams.Drain(grace)
	if caddy.Exiting() {
		stores.Yield()
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
	if h.store != nil {
		h.store.Disconnect()
	}
	return nil
}

var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
