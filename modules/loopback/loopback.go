// Package loopback keeps other sites' pages from a server that is meant for this machine alone.
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
		return false // a browser cannot connect to it, and a proxy before it has a name of its own
	}
	ip := net.ParseIP(address.Host)
	return strings.EqualFold(address.Host, "localhost") || ip != nil && ip.IsLoopback()
}

// Guard is a handler that passes on only requests that are meant for this machine. A page of any site can make its
// visitor's browser ask this server. Under a name that the site's owner points to 127.0.0.1 (DNS rebinding), it could read
// the answer, too. The Host header tells by its name, whatever the port, which may be forwarded. A request that another
// page has made tells by its Origin.
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
