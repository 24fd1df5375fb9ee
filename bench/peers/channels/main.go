// Command channels is Caddy with the simplest fan-out handler: a map of clients, with a channel and a goroutine for each. It runs in the
// same Caddy as the product, so that the difference in cost comes from the fan-out alone.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/seed-4dedbcea/caddy-sse/bench/internal/feed"
)

func init() {
	caddy.RegisterModule(&Hub{})
	httpcaddyfile.RegisterHandlerDirective("channels", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		hub := new(Hub)
		return hub, hub.UnmarshalCaddyfile(h.Dispenser)
	})
	httpcaddyfile.RegisterDirectiveOrder("channels", httpcaddyfile.Before, "reverse_proxy")
}

func main() {
	caddycmd.Main()
}

const (
	heartbeat = 5 * time.Second
	behind    = 256 // events that a client may lag before it is cut off
)

// Hub sends each record in a TCP feed to all clients.
type Hub struct {
	// Feed is the emitter's TCP address.
	Feed string `json:"feed"`

	mu      sync.RWMutex
	clients map[chan []byte]struct{}
	stop    context.CancelFunc
}

// CaddyModule returns the Caddy module information.
func (*Hub) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.channels", New: func() caddy.Module { return new(Hub) }}
}

// UnmarshalCaddyfile parses `channels <address of the feed>`.
func (h *Hub) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&h.Feed) {
		return d.ArgErr()
	}
	return nil
}

// Provision starts to read the feed.
func (h *Hub) Provision(ctx caddy.Context) error {
	h.clients = make(map[chan []byte]struct{})
	reading, stop := context.WithCancel(ctx)
	h.stop = stop
	go func() {
		err := feed.Read(reading, h.Feed, h.publish)
		ctx.Logger().Info("the feed ended: " + fmt.Sprint(err))
	}()
	return nil
}

// Cleanup stops reading the feed.
func (h *Hub) Cleanup() error {
	h.stop()
	return nil
}

func (h *Hub) publish(record []byte) error {
	event := fmt.Appendf(nil, "data: %s\n\n", record)
	h.mu.RLock()
	defer h.mu.RUnlock()
	for client := range h.clients {
		select {
		case client <- event:
		default:
			go h.leave(client)
		}
	}
	return nil
}

func (h *Hub) leave(client chan []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, there := h.clients[client]; there {
		delete(h.clients, client)
		close(client)
	}
}

// ServeHTTP serves one client until it leaves.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	controller := http.NewResponseController(w)
	if _, err := io.WriteString(w, ": open\n\n"); err != nil {
		return nil
	}
	if err := controller.Flush(); err != nil {
		return nil
	}

	events := make(chan []byte, behind)
	h.mu.Lock()
	h.clients[events] = struct{}{}
	h.mu.Unlock()
	defer h.leave(events)
	silence := time.NewTicker(heartbeat)
	defer silence.Stop()
	for {
		event := []byte(":\n\n")
		select {
		case <-r.Context().Done():
			return nil
		case <-silence.C:
		case next, ok := <-events:
			if !ok {
				return nil
			}
			event = next
		}
		if _, err := w.Write(event); err != nil {
			return nil
		}
		if err := controller.Flush(); err != nil {
			return nil
		}
	}
}
