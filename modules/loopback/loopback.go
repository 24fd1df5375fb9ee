// Package loopback protects a server for this machine alone from the pages of other sites.
package loopback

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Is reports whether only this machine can reach the address.
func Is(address caddy.NetworkAddress) bool {
	if address.IsUnixNetwork() || address.IsFdNetwork() {
		return false // a browser cannot connect to it, and a proxy in front of it has its own name
	}
	ip := net.ParseIP(address.Host)
	return strings.EqualFold(address.Host, "localhost") || ip != nil && ip.IsLoopback()
}

// Guard is a handler that rejects requests from the pages of other sites. Any page can make its visitor's browser send requests to this
// server. If the owner of the site points a name to 127.0.0.1 (DNS rebinding), the page could also read the responses. Guard checks
// the name in the Host header, which is that of the other site then. The port may differ, because it may be forwarded. It also
// checks the Origin header, which names the page that made the request.
type Guard struct {
	// The names of this machine.
	Hosts []string `json:"hosts,omitempty"`
}

// CaddyModule returns the Caddy module information. Only the command "caddy sse" registers the module.
func (*Guard) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.sse_loopback_only", New: func() caddy.Module { return new(Guard) }}
}

// ServeHTTP refuses a request whose Host or Origin is not this machine's own.
func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	own := url.URL{Host: r.Host}
	if !g.isOwn(own.Hostname()) {
		return caddyhttp.Error(http.StatusForbidden, errors.New("the Host header names another host"))
	}
	for _, value := range r.Header["Origin"] {
		origin, err := url.Parse(value)
		if err != nil || origin.Scheme != "http" || !g.isOwn(origin.Hostname()) || origin.Port() != own.Port() {
			return caddyhttp.Error(http.StatusForbidden, errors.New("the Origin header names another site"))
		}
	}
	return next.ServeHTTP(w, r)
}

func (g *Guard) isOwn(host string) bool {
	return slices.ContainsFunc(g.Hosts, func(own string) bool { return strings.EqualFold(own, host) })
}

var _ caddyhttp.MiddlewareHandler = (*Guard)(nil)
