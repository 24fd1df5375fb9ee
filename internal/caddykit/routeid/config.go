// Package routeid tells one route of Caddy's config from another by what it is: its matchers, and the handlers around
// and behind one of its handlers. Its place among other routes does not count, so that a route is the same after a
// reload that adds or removes others.
package routeid

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// server is what of a server's config decides who gets to its routes.
type server struct {
	Listen      []string          `json:"listen"`
	Routes      []config          `json:"routes"`
	Errors      *errorRoutes      `json:"errors"`
	NamedRoutes map[string]config `json:"named_routes"`
	TLS         []map[string]any  `json:"tls_connection_policies"`
}

type errorRoutes struct {
	Routes []config `json:"routes"`
}

// config is a route.
type config struct {
	Group    string            `json:"group"`
	Match    json.RawMessage   `json:"match"`
	Handle   []json.RawMessage `json:"handle"`
	Terminal bool              `json:"terminal"`
}

// subroute is a handler that has routes of its own.
type subroute struct {
	Routes []config     `json:"routes"`
	Errors *errorRoutes `json:"errors"`
}

func parseSubroute(raw json.RawMessage) (s subroute, err error) {
	if err := json.Unmarshal(raw, &s); err != nil {
		return subroute{}, fmt.Errorf("subroute: %w", err)
	}
	return s, nil
}

func (e *errorRoutes) list() []config {
	if e == nil {
		return nil
	}
	return e.Routes
}

// handlerName is the name of a handler's module. Caddy looks for it in the same way.
func handlerName(raw json.RawMessage) string {
	var fields map[string]json.RawMessage
	var name string
	if json.Unmarshal(raw, &fields) == nil {
		_ = json.Unmarshal(fields["handler"], &name)
	}
	return name
}

// decode is JSON as it was written, numbers included.
func decode(raw json.RawMessage) (any, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	err := decoder.Decode(&value)
	return value, err
}

// step is one level of a chain: a handler in a route in a list of routes.
type step struct {
	routes  []config
	route   int
	handler int
	errors  bool // the list is of a subroute's or the server's error routes
}

func (s step) current() config { return s.routes[s.route] }

func (s step) raw() json.RawMessage { return s.current().Handle[s.handler] }

// chain is the way from a server's routes to a handler, the outermost level first.
type chain []step
