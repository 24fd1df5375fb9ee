// Package routeid identifies the route of a handler in Caddy's config by its content: the matchers, and the handlers before and after
// the handler. The index in the list of routes does not count, so a route keeps its identity over a reload that adds or removes
// others.
package routeid

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// server holds the parts of a server's config that decide which requests reach a route.
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

// subroute is a handler with routes of its own.
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

// handlerName returns the name of a handler's module. Caddy finds it in the same way.
func handlerName(raw json.RawMessage) string {
	var fields map[string]json.RawMessage
	var name string
	if json.Unmarshal(raw, &fields) == nil {
		_ = json.Unmarshal(fields["handler"], &name)
	}
	return name
}

// decode decodes JSON. Numbers stay as they were written.
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
	errors  bool // the list is the error routes of a subroute or of the server
}

func (s step) current() config { return s.routes[s.route] }

func (s step) raw() json.RawMessage { return s.current().Handle[s.handler] }

// chain is the path from a server's routes to a handler, the outermost level first.
type chain []step
