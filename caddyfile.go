package sse

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/rights"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("sse", parseCaddyfile)
	// After encode, which can compress the stream, and before handle, route and reverse_proxy, whose responses are converted.
	httpcaddyfile.RegisterDirectiveOrder("sse", httpcaddyfile.After, "encode")
}

func parseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.unmarshalCaddyfile(h.Dispenser, &h); err != nil {
		return nil, err
	}
	return handler, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	sse [<matcher>] {
//	    backend <name> [<args...>] { ... }
//
//	    format          auto | lines | ndjson | json_seq | json | event_stream
//	    charset         <name>
//	    max_record_size <size> [skip | truncate | error]
//	    parse           csv <column...> | regexp <pattern> | logfmt | syslog
//
//	    data       <template>
//	    event      <template>
//	    id         <template>
//	    where      <CEL expression>
//	    on_invalid pass | skip | error
//
//	    accept           standard | strict | negotiate | off [<status>]
//	    open_after       <duration>
//	    retry            <duration>
//	    heartbeat        <duration> [<event>] | off
//	    stall_timeout    <duration> | off
//	    upstream_timeout <duration>
//	    max_duration     <duration> [<jitter>]
//	    expires          <time>
//	    recheck          <interval> { <directives> }
//	    compress         [zstd] [gzip]
//
//	    end            <event> [<data>] [stop]
//	    end_when       <CEL expression>
//	    error          <event> [<data>]
//	    error_when     <CEL expression>
//	    on_unavailable status | retry
//	    drain          <duration> [spread | wait]
//	    on_reload      end | keep
//
//	    match  { status <code...> | header <field> [<value>] }
//	    viewer
//	    name   <name>
//
//	    share [<key>] {
//	        history <count> [<size>]
//	        replay  <count> | all
//	        live    <event> [<data>]
//	        open    <method...>
//	        stop    <method>
//	        linger  <duration>
//	        keep    <duration>
//	        lag     disconnect | skip
//	        store   <name> [<args...>] { ... }
//	    }
//
//	    max_streams            <n>
//	    max_streams_per_client <n> [<key>]
//	    max_sources            <n>
//	}
//
// The directives of recheck work only in an HTTP Caddyfile.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return h.unmarshalCaddyfile(d, nil)
}

func (h *Handler) unmarshalCaddyfile(d *caddyfile.Dispenser, helper *httpcaddyfile.Helper) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := make(directive.Seen)
	for d.NextBlock(0) {
		if err := seen.Add(d); err != nil {
			return err
		}
		var err error
		switch d.Val() {
		case "backend":
			h.backend, h.BackendRaw, err = parseBackend(d)
		case "format":
			h.Format, err = directive.OneOf(d, records.FormatNames()...)
		case "charset":
			h.Charset, err = directive.Checked(d, checkCharset)
		case "max_record_size":
			h.MaxRecordSize, h.Oversize, err = parseMaxRecordSize(d)
		case "parse":
			h.Parse, err = parseParse(d)
		case "data":
			h.Data = new(string)
			*h.Data, err = directive.Checked(d, checkTemplate)
		case "event":
			h.Event, err = directive.Checked(d, checkTemplate)
		case "id":
			h.ID, err = directive.Checked(d, checkTemplate)
		case "where":
			h.Where, err = parseExpression(d)
		case "on_invalid":
			h.OnInvalid, err = directive.OneOf(d, string(mapping.Pass), string(mapping.Skip), string(mapping.Fail))
		case "accept":
			h.Accept, h.AcceptStatus, err = parseAccept(d)
		case "open_after":
			h.OpenAfter, err = directive.Duration(d)
		case "retry":
			h.Retry, err = directive.Duration(d)
		case "heartbeat":
			h.Heartbeat, h.HeartbeatEvent, err = parseHeartbeat(d)
		case "stall_timeout":
			h.StallTimeout, err = directive.DurationOrOff(d)
		case "upstream_timeout":
			h.UpstreamTimeout, err = directive.Duration(d)
		case "max_duration":
			h.MaxDuration, h.MaxDurationJitter, err = parseMaxDuration(d)
		case "compress":
			h.Compress, err = parseCompress(d)
		case "expires":
			h.Expires, err = directive.Checked(d, rights.CheckExpires)
		case "recheck":
			h.Recheck, err = parseRecheck(d, helper)
		case "end":
			h.End, err = parseEnd(d)
		case "end_when":
			h.EndWhen, err = parseExpression(d)
		case "error":
			h.Error, err = parseError(d)
		case "error_when":
			h.ErrorWhen, err = parseExpression(d)
		case "on_unavailable":
			h.OnUnavailable, err = directive.OneOf(d, onUnavailableStatus, onUnavailableRetry)
		case "drain":
			h.Drain, h.DrainMode, err = parseDrain(d)
		case "on_reload":
			h.OnReload, err = directive.OneOf(d, stream.OnReloadEnd, stream.OnReloadKeep)
		case "match":
			h.Match, err = parseMatch(d)
		case "viewer":
			h.Viewer, err = true, directive.NoArgs(d)
		case "name":
			h.Name, err = directive.Checked(d, metrics.CheckName)
		case "share":
			h.Share, err = parseShare(d)
		case "max_streams":
			h.MaxStreams, err = directive.Count(d, 1)
		case "max_streams_per_client":
			h.MaxStreamsPerClient, h.MaxStreamsKey, err = parseMaxStreamsPerClient(d)
		case "max_sources":
			h.MaxSources, err = directive.Count(d, 1)
		default:
			err = d.Errf("unrecognized subdirective %q", d.Val())
		}
		if err == nil && h.Match != nil && h.BackendRaw != nil {
			err = d.WrapErr(errMatchOfBackend)
		}
		if err == nil && h.charsetOfEventStream() {
			err = d.WrapErr(errCharsetOfEventStream)
		}
		if err == nil && h.parsesOtherThanLines() {
			err = d.WrapErr(errParseOfFormat)
		}
		if err == nil && h.timesOutPushes() {
			err = d.WrapErr(errTimeoutOfPushes)
		}
		if err == nil && h.heartbeatIsEnd() {
			err = d.WrapErr(errHeartbeatIsEnd)
		}
		if err == nil && h.storesStdin() {
			err = d.WrapErr(errStoreOfStdin)
		}
		if err == nil && h.sharesEndingPerRequest() {
			err = d.WrapErr(errEndingPerRequest)
		}
		if err != nil {
			return err
		}
	}
	if h.passesWithoutRights() {
		return d.WrapErr(errPassesWithoutRights)
	}
	if h.Share != nil {
		if err := h.checkAnswers(); err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}

func parseShare(d *caddyfile.Dispenser) (*Share, error) {
	share := new(Share)
	given, err := directive.Args(d, 0, 1)
	if err != nil {
		return nil, err
	}
	share.Key = given[0]
	if err := argument.CheckKey(share.Key); err != nil {
		return nil, d.WrapErr(fmt.Errorf("share: %w", err))
	}
	seen := make(directive.Seen)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.Add(d); err != nil {
			return nil, err
		}
		switch d.Val() {
		case "history":
			share.History, share.HistorySize, err = parseHistory(d)
		case "replay":
			share.Replay, err = parseReplay(d)
		case "live":
			share.Live, err = parseLive(d)
		case "open":
			share.Open, err = parseMethods(d)
		case "stop":
			share.Stop, err = directive.Checked(d, checkMethod)
		case "linger":
			share.Linger, err = directive.DurationOrZero(d)
		case "keep":
			share.Keep, err = directive.DurationOrZero(d)
		case "lag":
			share.Lag, err = directive.OneOf(d, lagDisconnect, lagSkip)
		case "store":
			share.StoreRaw, err = parseStore(d)
		default:
			err = d.Errf("unrecognized subdirective %q of share", d.Val())
		}
		if err != nil {
			return nil, err
		}
	}
	return share, nil
}

// parseBackend parses the backend's name. The backend's module parses the rest.
func parseBackend(d *caddyfile.Dispenser) (Backend, json.RawMessage, error) {
	if !d.NextArg() {
		return nil, nil, d.ArgErr()
	}
	name := d.Val()
	if _, err := caddy.GetModule(backendNamespace + "." + name); err != nil {
		var names []string
		for _, module := range caddy.GetModules(backendNamespace) {
			names = append(names, module.ID.Name())
		}
		return nil, nil, d.Errf("there is no backend %q: choose one of %s", name, strings.Join(names, ", "))
	}
	module, err := caddyfile.UnmarshalModule(d, backendNamespace+"."+name)
	if err != nil {
		return nil, nil, err
	}
	backend, ok := module.(Backend)
	if !ok {
		return nil, nil, d.Errf("module %s.%s is not a backend, but a %T", backendNamespace, name, module)
	}
	return backend, caddyconfig.JSONModuleObject(backend, "name", name, nil), nil
}

var _ caddyfile.Unmarshaler = (*Handler)(nil)
