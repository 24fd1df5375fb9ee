package routeid

import (
	"errors"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Identity identifies a handler's route.
type Identity struct {
	// Digest is the same for routes with the same content, and differs otherwise. It is empty if the route is not known.
	Digest string

	// Groups are the groups of the routes in the chain. A request that reaches the handler matches no other route in them.
	Groups []string

	// ReadsOriginal says whether later handlers may use the original request before rewrites.
	ReadsOriginal bool

	// ReadsVars says whether later handlers may use vars that other handlers have set.
	ReadsVars bool
}

var unknown = Identity{ReadsOriginal: true, ReadsVars: true}

// ErrManyPlaces is returned for a named route that is invoked from different routes. The handlers after it differ between these.
var ErrManyPlaces = errors.New("named route is invoked from different routes")

// Of returns the identity of the route whose handler is being provisioned. An error says why it is not known.
func Of(ctx caddy.Context) (Identity, error) {
	provisioned, configured, raw, err := serverConfig(ctx)
	if err != nil {
		return unknown, err
	}
	modules := modulesBelowApp(ctx)
	c, err := find(provisioned.Routes, configured.Routes, modules)
	if errors.Is(err, errNotHere) && provisioned.Errors != nil {
		if c, err = find(provisioned.Errors.Routes, configured.Errors.list(), modules); err == nil {
			c[0].errors = true
		}
	}
	chains := []chain{c}
	if errors.Is(err, errNotHere) {
		chains, err = findNamed(provisioned, configured, raw, modules)
	}
	if err != nil {
		return unknown, err
	}
	return configured.identity(chains)
}

// identity returns the identity of the handler at the end of these chains.
func (s *server) identity(chains []chain) (Identity, error) {
	var id Identity
	for i, c := range chains {
		sum, reads, err := s.digest(c)
		if err != nil {
			return unknown, fmt.Errorf("config of the route: %w", err)
		}
		if i > 0 && sum != id.Digest {
			return unknown, ErrManyPlaces
		}
		id.Digest, id.ReadsOriginal, id.ReadsVars = sum, reads.original, reads.vars
	}
	for _, level := range slices.Concat(chains...) {
		if group := level.current().Group; group != "" && !slices.Contains(id.Groups, group) {
			id.Groups = append(id.Groups, group)
		}
	}
	return id, nil
}

// findNamed finds the handler in the named routes, which Caddy provisions last, in any order.
func findNamed(provisioned *caddyhttp.Server, configured *server, raw []byte, modules []caddy.Module) ([]chain, error) {
	var name string
	var inner chain
	for other, r := range provisioned.NamedRoutes {
		c, err := find(caddyhttp.RouteList{*r}, []config{configured.NamedRoutes[other]}, modules)
		switch {
		case errors.Is(err, errNotHere):
		case err != nil, inner != nil:
			return nil, ErrManyPlaces
		default:
			name, inner = other, c
		}
	}
	if inner == nil {
		return nil, errNotHere
	}
	invokers, err := configured.invokers(name)
	if err != nil {
		return nil, ErrManyPlaces
	}
	// A handler in the field of another module may invoke the route too. Then there are more invoke handlers than are known.
	value, err := decode(raw)
	if err != nil {
		return nil, err
	}
	places := count(value, func(object map[string]any) bool { return object["handler"] == "invoke" })
	known := len(invokersIn(configured.Routes, "")) + len(invokersIn(configured.Errors.list(), ""))
	for _, r := range configured.NamedRoutes {
		known += len(invokersIn([]config{r}, ""))
	}
	if places > known {
		return nil, ErrManyPlaces
	}
	chains := make([]chain, 0, len(invokers))
	for _, outer := range invokers {
		chains = append(chains, slices.Concat(outer, inner))
	}
	if len(chains) == 0 {
		chains = append(chains, inner) // no request reaches it
	}
	return chains, nil
}
