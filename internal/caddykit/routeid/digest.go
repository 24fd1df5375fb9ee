package routeid

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Properties of Caddy's own handlers and matchers. Handlers that are not listed may do anything.
var (
	// passesOn are the handlers that pass on every request, and that affect later handlers only through the request's host, URI
	// and vars.
	passesOn = setOf("sse", "encode", "headers", "log_append", "map", "request_body", "rewrite", "timeouts", "tracing", "vars")

	// keepsURL are those in passesOn that change neither host nor URI.
	keepsURL = setOf("sse", "encode", "log_append", "map", "request_body", "timeouts", "tracing", "vars")

	// asksByRequest are the handlers that use neither vars nor the original request before rewrites, unless a placeholder or a
	// matcher does.
	asksByRequest = setOf("sse", "encode", "headers", "log_append", "map", "request_body", "rewrite", "timeouts",
		"vars", "subroute", "invoke", "reverse_proxy", "static_response", "error")

	// goesByURL are the matchers that depend only on a request's host and path.
	goesByURL = setOf("host", "path", "path_regexp")

	// sameForAll are the matchers that give the same result for all clients that ask for the same resource. Only GET requests
	// share a source.
	sameForAll = setOf("host", "path", "path_regexp", "method", "query")
)

func setOf(names ...string) map[string]bool {
	set := make(map[string]bool)
	for _, name := range names {
		set[name] = true
	}
	return set
}

// reads says what handlers may use besides the request.
type reads struct{ vars, original bool }

func (r *reads) text(raw json.RawMessage) {
	r.vars = r.vars || bytes.Contains(raw, []byte("vars"))
	r.original = r.original || bytes.Contains(raw, []byte("orig_"))
}

// digest hashes everything that affects a request on its way to the last handler in a chain and after it:
//
//   - the matchers and handlers of each route in the chain
//   - routes before those, if they may hold some clients back
//   - routes after those, if a request may reach them
//
// Other routes do not count.
type digest struct {
	server   *server
	groups   map[string]int // numbers for names: the Caddyfile adapter's own numbers change when another group is added
	named    []string       // the named routes that are invoked
	material []any
	reads    reads
}

func (s *server) digest(c chain) (sum string, r reads, err error) {
	d := &digest{server: s, groups: make(map[string]int)}
	listen := slices.Clone(s.Listen)
	slices.Sort(listen)
	d.material = append(d.material, listen)
	for _, policy := range s.TLS {
		if policy["client_authentication"] != nil {
			d.material = append(d.material, d.normalize(policy))
		}
	}
	ended := false
	for _, level := range slices.Backward(c) {
		if err := d.addLevel(level, &ended); err != nil {
			return "", reads{}, err
		}
	}
	// A named route may invoke others, which adds these to the list.
	for i := 0; i < len(d.named); i++ {
		if err := d.addRoute(s.NamedRoutes[d.named[i]], true); err != nil {
			return "", reads{}, err
		}
	}
	text, err := json.Marshal(d.material)
	if err != nil {
		return "", reads{}, err
	}
	hash := sha256.Sum256(text)
	return hex.EncodeToString(hash[:]), d.reads, nil
}

// addLevel adds a level of the chain. ended means that no request gets past an inner level.
func (d *digest) addLevel(s step, ended *bool) error {
	r := s.current()
	d.add("level", s.errors, r.Terminal) // without the group: the Caddyfile adapter sets it only if there are other routes
	if err := d.addRaw(r.Match); err != nil {
		return err
	}
	d.add("around")
	for _, raw := range r.Handle[:s.handler] {
		if err := d.addRaw(raw); err != nil {
			return err
		}
	}
	if name := handlerName(s.raw()); name != "sse" && name != "subroute" && name != "invoke" {
		if err := d.addBehind(s.raw()); err != nil {
			return err
		}
	}
	d.add("before")
	for _, other := range s.routes[:s.route] {
		alternative := r.Group != "" && other.Group == r.Group
		if !alternative && holdsBack(other) || alternative && refuses(other.Handle) && !matchesBy(other.Match, sameForAll) {
			if err := d.addRoute(other, false); err != nil {
				return err
			}
		}
	}
	if *ended {
		return nil
	}
	d.add("behind")
	tail := r.Handle[s.handler+1:]
	for _, raw := range tail {
		if err := d.addBehind(raw); err != nil {
			return err
		}
	}
	if *ended = r.Terminal || ends(tail); *ended {
		return nil
	}
	sameURL := only(tail, keepsURL)
	for _, other := range s.routes[s.route+1:] {
		if r.Group != "" && other.Group == r.Group {
			continue
		}
		if err := d.addRoute(other, true); err != nil {
			return err
		}
		matches := len(other.Match) == 0 || sameURL && matchesBy(r.Match, goesByURL) && bytes.Equal(other.Match, r.Match)
		if *ended = matches && other.Group == "" && (other.Terminal || ends(other.Handle)); *ended {
			return nil
		}
		sameURL = sameURL && only(other.Handle, keepsURL)
	}
	return nil
}

func (d *digest) add(values ...any) { d.material = append(d.material, values) }

func (d *digest) addRoute(r config, behind bool) error {
	d.add("route", r.Terminal, d.group(r.Group))
	if err := d.addRaw(r.Match); err != nil {
		return err
	}
	if behind {
		d.reads.text(r.Match)
	}
	for _, raw := range r.Handle {
		add := d.addRaw
		if behind {
			add = d.addBehind
		}
		if err := add(raw); err != nil {
			return err
		}
	}
	return nil
}

// addBehind adds a handler that comes after ours.
func (d *digest) addBehind(raw json.RawMessage) error {
	value, err := decode(raw)
	if err != nil {
		return err
	}
	others := count(value, func(object map[string]any) bool {
		name, ok := object["handler"].(string)
		if transport, ok := object["transport"].(map[string]any); ok && transport["protocol"] != "http" {
			return true // FastCGI passes them to its application
		}
		return ok && !asksByRequest[name]
	})
	if d.reads.text(raw); others > 0 {
		d.reads = reads{vars: true, original: true}
	}
	d.add(d.normalize(value))
	return nil
}

func (d *digest) addRaw(raw json.RawMessage) error {
	value, err := decode(raw)
	if err == nil {
		d.add(d.normalize(value))
	}
	return err
}

// normalize replaces the names of groups with numbers, and collects the named routes that are invoked.
func (d *digest) normalize(value any) any {
	switch value := value.(type) {
	case []any:
		for i, v := range value {
			value[i] = d.normalize(v)
		}
	case map[string]any:
		_, isRoute := value["handle"].([]any)
		for _, key := range slices.Sorted(maps.Keys(value)) {
			name, _ := value[key].(string)
			switch {
			case isRoute && key == "group" && name != "":
				value[key] = d.group(name)
			case value["handler"] == "invoke" && strings.EqualFold(key, "name"):
				if !slices.Contains(d.named, name) {
					d.named = append(d.named, name)
				}
			default:
				value[key] = d.normalize(value[key])
			}
		}
	}
	return value
}

func (d *digest) group(name string) int {
	if name == "" {
		return 0
	}
	if _, ok := d.groups[name]; !ok {
		d.groups[name] = len(d.groups) + 1
	}
	return d.groups[name]
}

// ends reports whether no request gets past these handlers.
func ends(handlers []json.RawMessage) bool {
	return slices.ContainsFunc(handlers, func(raw json.RawMessage) bool {
		switch handlerName(raw) {
		case "static_response", "error":
			return true
		case "reverse_proxy":
			var proxy map[string]json.RawMessage
			_ = json.Unmarshal(raw, &proxy)
			return !slices.ContainsFunc(slices.Collect(maps.Keys(proxy)), func(key string) bool {
				return strings.EqualFold(key, "handle_response") // its routes may pass a request on
			})
		case "subroute":
			sub, err := parseSubroute(raw)
			return err == nil && sub.Errors == nil && slices.ContainsFunc(sub.Routes, func(r config) bool {
				return len(r.Match) == 0 && r.Group == "" && ends(r.Handle)
			})
		}
		return false
	})
}

// holdsBack reports whether a route may decide which clients reach the routes after it. If no request gets past its handlers, its
// matcher decides.
func holdsBack(r config) bool {
	if r.Terminal || ends(r.Handle) {
		return !matchesBy(r.Match, sameForAll)
	}
	return !passOn(r.Handle)
}

// refuses reports whether these handlers only answer requests themselves.
func refuses(handlers []json.RawMessage) bool {
	return len(handlers) > 0 && !slices.ContainsFunc(handlers, func(raw json.RawMessage) bool {
		switch handlerName(raw) {
		case "static_response", "error":
			return false
		case "subroute":
			sub, err := parseSubroute(raw)
			return err != nil || slices.ContainsFunc(sub.Routes, func(r config) bool { return !refuses(r.Handle) })
		}
		return true
	})
}

// passOn reports whether these handlers pass on every request.
func passOn(handlers []json.RawMessage) bool {
	return !slices.ContainsFunc(handlers, func(raw json.RawMessage) bool {
		if handlerName(raw) != "subroute" {
			return !passesOn[handlerName(raw)]
		}
		sub, err := parseSubroute(raw)
		return err != nil || slices.ContainsFunc(sub.Routes, func(r config) bool { return r.Terminal || !passOn(r.Handle) })
	})
}

func only(handlers []json.RawMessage, names map[string]bool) bool {
	return !slices.ContainsFunc(handlers, func(raw json.RawMessage) bool { return !names[handlerName(raw)] })
}

// matchesBy reports whether all matchers are among these.
func matchesBy(match json.RawMessage, names map[string]bool) bool {
	var sets []map[string]json.RawMessage
	if json.Unmarshal(match, &sets) != nil {
		return false
	}
	for _, set := range sets {
		for name := range set {
			if !names[name] {
				return false
			}
		}
	}
	return true
}
