// Package lifecycle tells a module in the http app when its config starts and stops.
package lifecycle

import (
	"context"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Watch calls started when the config has started, and stopping when it begins to stop. Cleanup and an app's Stop are too late for
// streams, which do not end by themselves: Caddy first waits for all responses. grace is the time after which Caddy cuts off the
// responses that have not ended, or 0 if it does not.
//
// Outside of a server, Watch calls nothing.
func Watch(ctx caddy.Context, started func(), stopping func(grace time.Duration)) error {
	if ctx.Value(caddyhttp.ServerCtxKey) == nil {
		return nil
	}
	app, err := ctx.App("events")
	if err != nil {
		return err
	}
	events := app.(*caddyevents.App)
	if err := events.On("started", &listener{started}); err != nil {
		return err
	}
	return events.On("stopping", &listener{func() { stopping(gracePeriod(ctx)) }})
}

func gracePeriod(ctx caddy.Context) time.Duration {
	app, err := ctx.AppIfConfigured("http")
	if err != nil {
		return 0
	}
	return time.Duration(app.(*caddyhttp.App).GracePeriod)
}

// listener is a struct and not a func, because Caddy logs it as JSON.
type listener struct{ hear func() }

func (l *listener) Handle(context.Context, caddy.Event) error {
	l.hear()
	return nil
}

var _ caddyevents.Handler = (*listener)(nil)
