package sse

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/compress"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/parse"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
)

// This file parses the options with several arguments, or with special ones.

// parseExpression parses an expression. It is one argument or, as with the expression matcher, several arguments if it was written
// without quotes around it. These keep the quotes in the expression.
func parseExpression(d *caddyfile.Dispenser) (string, error) {
	name, expr := d.Val(), ""
	switch d.CountRemainingArgs() {
	case 0:
		return "", d.ArgErr()
	case 1:
		expr = d.RemainingArgs()[0]
	default:
		expr = strings.Join(d.RemainingArgsRaw(), " ")
	}
	if _, err := mapping.CompileWhere(expr); err != nil {
		return "", d.WrapErr(fmt.Errorf("%s: %w", name, err))
	}
	return expr, nil
}

func parseParse(d *caddyfile.Dispenser) (*Parse, error) {
	name := d.Val()
	if !d.NextArg() {
		return nil, d.ArgErr()
	}
	p := &Parse{Syntax: d.Val()}
	switch given := d.RemainingArgs(); {
	case !slices.Contains(parse.Syntaxes, p.Syntax):
		return nil, d.Errf("%s must be one of %s, not %q", name, strings.Join(parse.Syntaxes, ", "), p.Syntax)
	case p.Syntax == parse.CSV && len(given) > 0:
		p.Columns = given
	case p.Syntax == parse.Regexp && len(given) == 1:
		p.Pattern = given[0]
	case p.Syntax == parse.CSV, p.Syntax == parse.Regexp, len(given) > 0:
		return nil, d.ArgErr()
	}
	if _, err := parse.New(p.spec()); err != nil {
		return nil, d.WrapErr(fmt.Errorf("%s: %w", name, err))
	}
	return p, nil
}

func parseMaxRecordSize(d *caddyfile.Dispenser) (int64, string, error) {
	name := d.Val()
	given, err := directive.Args(d, 1, 2)
	if err != nil {
		return 0, "", err
	}
	bytes, err := directive.ParseSize(d, name, given[0])
	if err != nil {
		return 0, "", err
	}
	if given[1] != "" {
		if _, err := records.ParseOversize(given[1]); err != nil {
			return 0, "", d.WrapErr(fmt.Errorf("%s: %w", name, err))
		}
	}
	return bytes, given[1], nil
}

func parseAccept(d *caddyfile.Dispenser) (mode string, status int, err error) {
	given, err := directive.Args(d, 1, 2)
	if err != nil {
		return "", 0, err
	}
	if !slices.Contains(acceptModes, given[0]) {
		return "", 0, d.Errf("accept must be one of %s, not %q", strings.Join(acceptModes, ", "), given[0])
	}
	if given[1] != "" {
		status, err = strconv.Atoi(given[1])
		if err != nil || !isErrorStatus(status) {
			return "", 0, d.Errf("the status of accept must be an error status from 400 to 599, not %q", given[1])
		}
	}
	return given[0], status, nil
}

func parseHeartbeat(d *caddyfile.Dispenser) (interval caddy.Duration, event string, err error) {
	name := d.Val()
	given, err := directive.Args(d, 1, 2)
	if err != nil {
		return 0, "", err
	}
	switch event = given[1]; {
	case given[0] == "off" && event == "":
		return directive.Off, "", nil
	case event != "":
		if err := checkEventType(name, event); err != nil {
			return 0, "", d.WrapErr(err)
		}
	}
	interval, err = directive.ParseDuration(d, name, given[0])
	return interval, event, err
}

func parseDrain(d *caddyfile.Dispenser) (limit caddy.Duration, mode string, err error) {
	name := d.Val()
	given, err := directive.Args(d, 1, 2)
	if err != nil {
		return 0, "", err
	}
	switch mode = given[1]; mode {
	case "", stream.DrainSpread, stream.DrainWait:
	default:
		return 0, "", d.Errf("drain must be %s or %s, not %q", stream.DrainSpread, stream.DrainWait, mode)
	}
	limit, err = directive.ParseDurationOrZero(d, name, given[0])
	return limit, mode, err
}

func parseMaxDuration(d *caddyfile.Dispenser) (limit, jitter caddy.Duration, err error) {
	name := d.Val()
	given, err := directive.Args(d, 1, 2)
	if err != nil {
		return 0, 0, err
	}
	if limit, err = directive.ParseDuration(d, name, given[0]); err != nil {
		return 0, 0, err
	}
	if given[1] != "" {
		if jitter, err = directive.ParseDuration(d, "the jitter of max_duration", given[1]); err != nil {
			return 0, 0, err
		}
	}
	if jitter > limit {
		return 0, 0, d.Err("the jitter of max_duration must not be longer than max_duration")
	}
	return limit, jitter, nil
}

func parseCompress(d *caddyfile.Dispenser) ([]string, error) {
	name, given := d.Val(), d.RemainingArgs()
	if len(given) == 0 {
		return slices.Clone(compress.Names), nil
	}
	if err := compress.Check(given); err != nil {
		return nil, d.WrapErr(fmt.Errorf("%s %w", name, err))
	}
	return given, nil
}

func parseEnd(d *caddyfile.Dispenser) (*End, error) {
	given := d.RemainingArgs()
	end := new(End)
	if len(given) > 1 && given[len(given)-1] == "stop" {
		end.Stop = true
		given = given[:len(given)-1]
	}
	if len(given) < 1 || len(given) > 2 {
		return nil, d.ArgErr()
	}
	end.Event = given[0]
	if len(given) == 2 {
		end.Data = &given[1]
	}
	if err := checkEventType("end", end.Event); err != nil {
		return nil, d.WrapErr(err)
	}
	return end, nil
}

func parseError(d *caddyfile.Dispenser) (*Error, error) {
	given := d.RemainingArgs()
	if len(given) < 1 || len(given) > 2 {
		return nil, d.ArgErr()
	}
	event := &Error{Event: given[0]}
	if len(given) == 2 {
		event.Data = &given[1]
	}
	if _, err := frame.NewErrorEvent(event.Event, event.Data); err != nil {
		return nil, d.WrapErr(fmt.Errorf("error: %w", err))
	}
	return event, nil
}

func parseRecheck(d *caddyfile.Dispenser, helper *httpcaddyfile.Helper) (*Recheck, error) {
	if helper == nil {
		return nil, d.Err("recheck has directives of a site: it can only stand in one")
	}
	name := d.Val()
	if !d.NextArg() {
		return nil, d.ArgErr()
	}
	interval, err := directive.ParseDuration(d, name, d.Val())
	if err != nil {
		return nil, err
	}
	block := d.NewFromNextSegment() // the interval and the block after it
	handler, err := httpcaddyfile.ParseSegmentAsSubroute(helper.WithDispenser(block))
	if err != nil {
		return nil, err
	}
	routes := handler.(*caddyhttp.Subroute).Routes
	if len(routes) == 0 {
		return nil, d.Err("recheck must have directives, such as forward_auth, that answer requests without a right")
	}
	return &Recheck{Interval: interval, Routes: routes}, nil
}

func parseMatch(d *caddyfile.Dispenser) (*caddyhttp.ResponseMatcher, error) {
	matchers := make(map[string]caddyhttp.ResponseMatcher)
	if err := caddyhttp.ParseNamedResponseMatcher(d.NewFromNextSegment(), matchers); err != nil {
		return nil, err
	}
	matcher := matchers["match"]
	if matcher.StatusCode == nil && matcher.Headers == nil {
		return nil, d.Err("match must say which status or header the responses have")
	}
	if err := checkMatch(&matcher); err != nil {
		return nil, d.WrapErr(err)
	}
	return &matcher, nil
}

// parseReplay parses a count, or all, for which it returns -1.
func parseReplay(d *caddyfile.Dispenser) (int, error) {
	name := d.Val()
	value, err := directive.OneArg(d)
	if err != nil {
		return 0, err
	}
	if value == "all" {
		return -1, nil
	}
	return directive.ParseCount(d, name, value, 0)
}

func parseLive(d *caddyfile.Dispenser) (*Live, error) {
	given := d.RemainingArgs()
	if len(given) < 1 || len(given) > 2 {
		return nil, d.ArgErr()
	}
	live := &Live{Event: given[0]}
	if len(given) == 2 {
		live.Data = &given[1]
	}
	if err := checkEventType("live", live.Event); err != nil {
		return nil, d.WrapErr(err)
	}
	return live, nil
}

func parseMethods(d *caddyfile.Dispenser) ([]string, error) {
	name, methods := d.Val(), d.RemainingArgs()
	if len(methods) == 0 {
		return nil, d.ArgErr()
	}
	for _, method := range methods {
		if err := checkMethod(method); err != nil {
			return nil, d.WrapErr(fmt.Errorf("%s: %w", name, err))
		}
	}
	return methods, nil
}

func parseHistory(d *caddyfile.Dispenser) (events int, bytes int64, err error) {
	name := d.Val()
	given, err := directive.Args(d, 1, 2)
	if err != nil {
		return 0, 0, err
	}
	if events, err = directive.ParseCount(d, name, given[0], 1); err != nil {
		return 0, 0, err
	}
	if given[1] != "" {
		if bytes, err = directive.ParseSize(d, "the size of history", given[1]); err != nil {
			return 0, 0, err
		}
	}
	return events, bytes, nil
}

func parseMaxStreamsPerClient(d *caddyfile.Dispenser) (n int, key string, err error) {
	name := d.Val()
	given, err := directive.Args(d, 1, 2)
	if err != nil {
		return 0, "", err
	}
	if err := argument.CheckKey(given[1]); err != nil {
		return 0, "", d.WrapErr(fmt.Errorf("%s: %w", name, err))
	}
	n, err = directive.ParseCount(d, name, given[0], 1)
	return n, given[1], err
}
