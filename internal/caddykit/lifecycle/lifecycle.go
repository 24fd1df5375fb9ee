// Package lifecycle tells a module of the http app when its config starts and when it stops.
package lifecycle

import (
	"context"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Watch calls started once the config has started, and stopping as soon as it stops. An app's Stop would be too late for
// a stream, which never ends by itself: Caddy waits for all responses first. stopping gets the grace period, after which
// Caddy cuts off the responses that have not ended. It is 0 if Caddy does not.
//
// Outside of a server there is no lifecycle, and nothing is called.
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

// listener is a struct, not a func, because Caddy's log shows it as JSON.
type listener struct{ hear func() }

func (l *listener) Handle(context.Context, caddy.Event) error {
	l.hear()
	return nil
}

var _ caddyevents.Handler = (*listener)(nil)
