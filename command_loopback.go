package sse

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

// isLoopback is whether nobody but this machine can reach the address.
func isLoopback(address caddy.NetworkAddress) bool {
	if address.IsUnixNetwork() || address.IsFdNetwork() {
		return false // a browser cannot connect to it, and a proxy before it has a name of its own
	}
	ip := net.ParseIP(address.Host)
	return strings.EqualFold(address.Host, "localhost") || ip != nil && ip.IsLoopback()
}

// loopbackOnly is the command's handler that lets pass what is meant for this machine. A page of any site can have its
// visitor's browser ask this server; under a name that its owner points to 127.0.0.1 (DNS rebinding) it could read the
// answer, too. The name in the Host header tells that, whatever the port: it may be forwarded. A request that another
// page has made tells by its Origin.
type loopbackOnly struct {
	Hosts []string `json:"hosts,omitempty"`
}

func (*loopbackOnly) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.sse_loopback_only", New: func() caddy.Module { return new(loopbackOnly) }}
}

func (l *loopbackOnly) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	own := url.URL{Host: r.Host}
	if !l.isOwn(own.Hostname()) {
		return caddyhttp.Error(http.StatusForbidden, errors.New("the Host header names another host"))
	}
	for _, value := range r.Header["Origin"] {
		origin, err := url.Parse(value)
		if err != nil || origin.Scheme != "http" || !l.isOwn(origin.Hostname()) || origin.Port() != own.Port() {
			return caddyhttp.Error(http.StatusForbidden, errors.New("the Origin header names another site"))
		}
	}
	return next.ServeHTTP(w, r)
}

func (l *loopbackOnly) isOwn(host string) bool {
	return slices.ContainsFunc(l.Hosts, func(own string) bool { return strings.EqualFold(own, host) })
}

var _ caddyhttp.MiddlewareHandler = (*loopbackOnly)(nil)
