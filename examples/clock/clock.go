// Package clock is an example of a backend for the sse handler. Its records are the time.
//
//	sse /clock {
//		backend clock 1s
//	}
package clock

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	sse "github.com/seed-4dedbcea/caddy-sse"
)

func init() {
	caddy.RegisterModule(new(Clock))
}

// Clock sends the time. Its exported fields are its options in JSON.
type Clock struct {
	// The time between two records.
	Interval caddy.Duration `json:"interval"`
}

// CaddyModule returns the Caddy module information. The ID ends with the backend's name in a config: `backend clock`.
func (*Clock) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.sse.backends.clock", New: func() caddy.Module { return new(Clock) }}
}

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	backend clock <interval>
func (c *Clock) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume backend name
	var text string
	if !d.AllArgs(&text) {
		return d.ArgErr()
	}
	interval, err := caddy.ParseDuration(text)
	if err != nil {
		return d.WrapErr(err)
	}
	c.Interval = caddy.Duration(interval)
	return nil
}

// Validate returns an error for wrong options.
func (c *Clock) Validate() error {
	if c.Interval <= 0 {
		return fmt.Errorf("interval must be above zero, not %s", time.Duration(c.Interval))
	}
	return nil
}

// Bind returns the clock itself, because it has no placeholders to expand. Its Stream keeps no state, so calls can overlap.
func (c *Clock) Bind(*http.Request) (sse.Upstream, error) { return c, nil }

// Key is equal for clocks with equal intervals.
func (c *Clock) Key() string { return sse.Key("clock", time.Duration(c.Interval).String()) }

// Stream writes a line for each record until the context ends or the input wants no more.
func (c *Clock) Stream(ctx context.Context, _ string, sink sse.Sink) error {
	input, err := sink.Open("text/plain")
	if err != nil {
		return err
	}
	ticker := time.NewTicker(time.Duration(c.Interval))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-ticker.C:
			if _, err := fmt.Fprintln(input, now.Format(time.RFC3339Nano)); err != nil {
				return err
			}
		}
	}
}

var (
	_ sse.Backend           = (*Clock)(nil)
	_ sse.Upstream          = (*Clock)(nil)
	_ caddy.Validator       = (*Clock)(nil)
	_ caddyfile.Unmarshaler = (*Clock)(nil)
)
