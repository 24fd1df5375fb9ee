package routeid

import (
	"errors"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Identity is what tells a handler's route from others.
type Identity struct {
	// Digest is the same for routes that have the same around the handler and behind it, and for no others. It is empty
	// if that is not known.
	Digest string

	// Groups are those of the routes around the handler: requests that get to it pass no other route of them.
	Groups []string

	// ReadsOriginal says that what stands behind the handler may look at the request as it was before it was rewritten.
	ReadsOriginal bool

	// ReadsVars says that it may look at vars that other handlers have set.
	ReadsVars bool
}

var unknown = Identity{ReadsOriginal: true, ReadsVars: true}

// ErrManyPlaces is of a named route that is invoked in places that differ: what stands behind its handlers is another
// thing for each.
var ErrManyPlaces = errors.New("named route is invoked from different routes")

// Of finds out in which route the handler stands that is being provisioned. An error says why that is not known.
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

// identity is that of a handler to which these chains lead.
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
	// Those that stand in fields of other modules are not among them.
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
		chains = append(chains, inner) // nobody gets there
	}
	return chains, nil
}
