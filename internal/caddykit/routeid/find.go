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

// rawConfig returns the http app's original config. Caddy keeps it until the app is provisioned, in an unexported field. The app's own
// struct does not help: it loses the matchers before the first handler is provisioned. If a later version of Caddy keeps the
// config elsewhere, rawConfig fails, and no route is identified.
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

// serverConfig returns the server that a module is being provisioned for, and its config.
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

// modulesBelowApp returns the modules that are being provisioned now, from the handler in a server's route to the innermost one.
func modulesBelowApp(ctx caddy.Context) []caddy.Module {
	modules := ctx.Modules()
	i := slices.IndexFunc(modules, func(m caddy.Module) bool { _, ok := m.(*caddyhttp.App); return ok })
	return modules[i+1:]
}

// find finds the handler that is being provisioned, which is the last module. Caddy provisions one route after the other, and removes
// the raw handlers from a route's struct when they are all provisioned. So the first route that still has raw handlers is that of
// the first module.
func find(provisioned caddyhttp.RouteList, configured []config, modules []caddy.Module) (chain, error) {
	i := slices.IndexFunc(provisioned, isPending)
	if i < 0 || len(modules) == 0 {
		return nil, errNotHere
	}
	// Caddy inserts its own routes for redirects to HTTPS. These are never pending. So the pending routes, counted from the end,
	// correspond to those in the config.
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

// findInOpaque checks a module that has routes in fields of its own. The whole module becomes part of the identity. The handler must be
// the only one of its kind in it.
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

// mayBe reports whether the module can have this config.
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

// count returns the number of objects in value for which is returns true.
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

// invokers returns the chains to the handlers that invoke a named route. within are the named routes that are being searched already.
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

// invokersIn returns the chains from a list of routes to the handlers in it that invoke the named route, or any named route if name is
// "".
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

// invoked returns the name of the route that a handler invokes.
func invoked(raw json.RawMessage) string {
	var handler struct {
		Name string `json:"name"`
	}
	_ = json.Unmarshal(raw, &handler)
	return handler.Name
}
