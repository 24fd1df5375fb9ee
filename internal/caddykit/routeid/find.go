package routeid

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

var (
	errNoServer  = errors.New("handler is not part of a server")
	errNoConfig  = errors.New("config of the http app is not there")
	errNotHere   = errors.New("handler is not in these routes")
	errAmbiguous = errors.New("handler stands in a place that cannot be told from another")
)

// rawConfig is the http app's config as it was written. Caddy keeps it until the app is provisioned, but the matchers of
// a server's routes are cleared from the app's own struct before the first handler is provisioned, and no exported
// method leads to the original. If a later Caddy has it elsewhere, nothing is known about any route.
func rawConfig(ctx caddy.Context) (raw json.RawMessage, err error) {
	defer func() {
		if recover() != nil {
			err = errNoConfig
		}
	}()
	apps := reflect.ValueOf(ctx).FieldByName("cfg").Elem().FieldByName("AppsRaw")
	if raw = apps.MapIndex(reflect.ValueOf("http")).Bytes(); len(raw) == 0 {
		return nil, errNoConfig
	}
	return raw, nil
}

// serverConfig is the config of the server that a module is being provisioned for.
func serverConfig(ctx caddy.Context) (*caddyhttp.Server, *server, json.RawMessage, error) {
	provisioned, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if provisioned == nil {
		return nil, nil, nil, errNoServer
	}
	raw, err := rawConfig(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	var app struct {
		Servers map[string]json.RawMessage `json:"servers"`
	}
	if err := json.Unmarshal(raw, &app); err != nil {
		return nil, nil, nil, fmt.Errorf("config of the http app: %w", err)
	}
	configured := new(server)
	if err := json.Unmarshal(app.Servers[provisioned.Name()], configured); err != nil {
		return nil, nil, nil, fmt.Errorf("config of server %s: %w", provisioned.Name(), err)
	}
	return provisioned, configured, app.Servers[provisioned.Name()], nil
}

// modulesBelowApp are the modules that are being provisioned now, from the one that a server's route has to the handler.
func modulesBelowApp(ctx caddy.Context) []caddy.Module {
	modules := ctx.Modules()
	i := slices.IndexFunc(modules, func(m caddy.Module) bool { _, ok := m.(*caddyhttp.App); return ok })
	return modules[i+1:]
}

// find finds the handler that is being provisioned: the last of the modules. Caddy clears a route's handlers from its
// struct once they are all provisioned, and does one route after the other, so that the first one with handlers is
// that of the first module.
func find(provisioned caddyhttp.RouteList, configured []config, modules []caddy.Module) (chain, error) {
	i := slices.IndexFunc(provisioned, isPending)
	if i < 0 || len(modules) == 0 {
		return nil, errNotHere
	}
	// Caddy inserts routes of its own for redirects to HTTPS. They are never pending, so counted from the end the pending
	// ones are those of the config.
	pending := 0
	for _, r := range provisioned[i:] {
		if isPending(r) {
			pending++
		}
	}
	s := step{routes: configured, route: len(configured)}
	for pending > 0 && s.route > 0 {
		s.route--
		if len(configured[s.route].Handle) > 0 {
			pending--
		}
	}
	if pending > 0 || !equal(provisioned[i].HandlersRaw, s.current().Handle) {
		return nil, errNotHere
	}

	module := modules[0]
	var found []int
	for j, raw := range s.current().Handle {
		if handlerName(raw) == module.CaddyModule().ID.Name() && mayBe(module, raw) {
			found = append(found, j)
		}
	}
	switch len(found) {
	case 0:
		return nil, errNotHere
	case 1:
	default:
		return nil, errAmbiguous
	}
	s.handler = found[0]
	if len(modules) == 1 {
		return chain{s}, nil
	}
	rest, err := findWithin(module, s.raw(), modules[1:])
	return append(chain{s}, rest...), err
}

func findWithin(module caddy.Module, raw json.RawMessage, modules []caddy.Module) (chain, error) {
	sub, ok := module.(*caddyhttp.Subroute)
	if !ok {
		return nil, findInOpaque(raw, modules)
	}
	configured, err := parseSubroute(raw)
	if err != nil {
		return nil, err
	}
	rest, err := find(sub.Routes, configured.Routes, modules)
	if errors.Is(err, errNotHere) && sub.Errors != nil {
		if rest, err = find(sub.Errors.Routes, configured.Errors.list(), modules); err == nil {
			rest[0].errors = true
		}
	}
	return rest, err
}

// findInOpaque is for a module that has routes in fields of its own: all of it stands around the handler, which must be
// the only one of its kind in there.
func findInOpaque(raw json.RawMessage, modules []caddy.Module) error {
	value, err := decode(raw)
	if err != nil {
		return err
	}
	name := modules[len(modules)-1].CaddyModule().ID.Name()
	if count(value, func(handler map[string]any) bool { return handler["handler"] == name }) != 1 {
		return errAmbiguous
	}
	return nil
}

func isPending(r caddyhttp.Route) bool { return len(r.HandlersRaw) > 0 }

// mayBe is whether a module can be what that config says.
func mayBe(module caddy.Module, raw json.RawMessage) bool {
	sub, ok := module.(*caddyhttp.Subroute)
	if !ok {
		return true
	}
	configured, err := parseSubroute(raw)
	if err != nil {
		return false
	}
	var errorList caddyhttp.RouteList
	if sub.Errors != nil {
		errorList = sub.Errors.Routes
	}
	return mayBeRoutes(sub.Routes, configured.Routes) && mayBeRoutes(errorList, configured.Errors.list())
}

func mayBeRoutes(provisioned caddyhttp.RouteList, configured []config) bool {
	if len(provisioned) != len(configured) {
		return false
	}
	for i, r := range provisioned {
		if isPending(r) && !equal(r.HandlersRaw, configured[i].Handle) {
			return false
		}
	}
	return true
}

func equal(a, b []json.RawMessage) bool {
	return slices.EqualFunc(a, b, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) })
}

// count is how many objects in value are so.
func count(value any, is func(map[string]any) bool) (n int) {
	switch value := value.(type) {
	case map[string]any:
		if is(value) {
			n++
		}
		for _, v := range value {
			n += count(v, is)
		}
	case []any:
		for _, v := range value {
			n += count(v, is)
		}
	}
	return n
}

// invokers are the chains to the handlers that invoke a named route. within are the named routes that are being looked
// at already.
func (s *server) invokers(name string, within ...string) ([]chain, error) {
	if slices.Contains(within, name) {
		return nil, errAmbiguous // it invokes itself
	}
	within = append(within, name)
	found := append(invokersIn(s.Routes, name), markErrors(invokersIn(s.Errors.list(), name))...)
	for other, r := range s.NamedRoutes {
		inner := invokersIn([]config{r}, name)
		if len(inner) == 0 {
			continue
		}
		outer, err := s.invokers(other, within...)
		if err != nil {
			return nil, err
		}
		for _, o := range outer {
			for _, i := range inner {
				found = append(found, slices.Concat(o, i))
			}
		}
	}
	return found, nil
}

// invokersIn are the chains from a list of routes to the handlers in it that invoke that route, or any if it is "".
func invokersIn(routes []config, name string) (found []chain) {
	for i, r := range routes {
		for j, raw := range r.Handle {
			s := step{routes: routes, route: i, handler: j}
			switch handlerName(raw) {
			case "invoke":
				if name == "" || invoked(raw) == name {
					found = append(found, chain{s})
				}
			case "subroute":
				sub, _ := parseSubroute(raw)
				for _, c := range append(invokersIn(sub.Routes, name), markErrors(invokersIn(sub.Errors.list(), name))...) {
					found = append(found, slices.Concat(chain{s}, c))
				}
			}
		}
	}
	return found
}

func markErrors(chains []chain) []chain {
	for _, c := range chains {
		c[0].errors = true
	}
	return chains
}

// invoked is the name of the route that a handler invokes.
func invoked(raw json.RawMessage) string {
	var handler struct {
		Name string `json:"name"`
	}
	_ = json.Unmarshal(raw, &handler)
	return handler.Name
}
