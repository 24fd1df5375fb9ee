package sim_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// plan decides what happens. The same seed gives the same plan, but the timing depends on the machine.
type plan struct{ seed uint64 }

// random returns the random numbers for one actor.
func (p plan) random(who ...any) *rand.Rand {
	return rand.New(rand.NewPCG(p.seed, hash(fmt.Sprint(who...))))
}

// route is a route with an sse handler. It does not change: the next config has a new one.
type route struct {
	path  string
	role  string // the role of the clients that it is for; empty: all clients
	kind  string // proxy, http, dial, listen or file
	tag   string // the tag of its upstream
	share string // the key, "default", or "" if it is not shared

	mapping *mapping
	history int
	size    string
	replay  int
	linger  string
	lag     string
	keep    bool // open streams survive reloads
	end     bool

	compress bool
}

// continues reports whether a client that reconnects with an id continues where it was.
func (r *route) continues() bool {
	return r.share != "" || r.kind == "file" || behaves(r.tag, resumes) || behaves(r.tag, resumesMapped)
}

// many reports whether several connections send at the same time.
func (r *route) many() bool { return r.kind == "listen" }

// family returns the part of a client's description that the upstream gets. Different sources have connections with different
// families.
func (r *route) family(c who) string {
	switch {
	case r.kind == "proxy" && r.share == "":
		return c.scheme + " " + c.name
	case r.kind == "proxy" && r.share == "{query.k}":
		return c.scheme + " " + c.kind
	case r.kind == "proxy" && r.share == "default":
		return c.scheme + " " + c.name + " " + c.kind
	case r.kind == "proxy":
		return c.scheme
	case (r.kind == "http" || r.kind == "dial") && r.share == "":
		return c.name
	case (r.kind == "http" || r.kind == "dial") && r.share == "{query.k}":
		return c.kind
	}
	return "all"
}

// belongs reports whether a client may get records from a connection.
func (r *route) belongs(c *connection, w who) bool { return c.family == r.family(w) }

// version returns the tag of an upstream that replaces another one.
func version(tag string, n int) string {
	name, letters, _ := strings.Cut(tag, ".")
	name, _, _ = strings.Cut(name, "v")
	return fmt.Sprintf("%sv%d.%s", name, n, letters)
}

// routes returns the routes of the first config.
func (p plan) routes() []*route {
	routes := []*route{
		{path: "/proxy", kind: "proxy", tag: "proxyv0.", share: "{path}"},
		{path: "/kind", kind: "proxy", tag: "kindv0.", share: "{query.k}"},
		{path: "/own", kind: "proxy", tag: "ownv0.", share: "default"},
		{path: "/role", role: "admin", kind: "proxy", tag: "adminv0.", share: "{path}"},
		{path: "/role", kind: "proxy", tag: "publicv0.", share: "{path}"},
		{path: "/direct", kind: "proxy", tag: "directv0." + resumesMapped},
		{path: "/live", kind: "proxy", tag: "livev0."},
		{path: "/http", kind: "http", tag: "httpv0.", share: "default"},
		{path: "/events", kind: "http", tag: "eventsv0." + resumes, share: "default"},
		{path: "/event", kind: "http", tag: "eventv0." + resumes},
		{path: "/dial", kind: "dial", tag: "dialv0.", share: "default"},
		{path: "/goeson", kind: "dial", tag: "goesonv0." + resumesMapped, share: "{query.k}"},
		{path: "/fat", kind: "dial", tag: "fatv0." + fat, share: "default"},
		{path: "/listen", kind: "listen", tag: "listenv0.", share: "default"},
		{path: "/log", kind: "file", tag: "logv0."},
		{path: "/logs", kind: "file", tag: "logsv0.", share: "default"},
		{path: "/ends", kind: "http", tag: "endsv0." + ends, share: "default", end: true},
	}
	if *pathsFlag != "" {
		routes = slices.DeleteFunc(routes, func(r *route) bool { return !slices.Contains(strings.Split(*pathsFlag, ","), r.path) })
	}
	random := p.random("routes")
	for _, r := range routes {
		p.change(random, r)
	}
	return routes
}

// mappingsFor returns the names of the mappings that a route may have.
func (r *route) mappingsFor() []string {
	switch {
	case behaves(r.tag, resumesMapped) && r.share != "":
		return []string{"own id"}
	case behaves(r.tag, resumesMapped):
		return []string{"own id", "own id, no EUR"}
	case behaves(r.tag, fat): // so that clients fall behind
		return []string{"plain", "template", "numbered", "own id", "named"}
	case r.kind == "file", behaves(r.tag, resumes):
		return []string{"plain", "template", "seventh", "no EUR", "its kind", "named"}
	case r.share == "":
		return []string{"plain", "template", "seventh", "no EUR", "own id", "its kind", "named", "id for each"}
	}
	return []string{"plain", "template", "seventh", "no EUR", "numbered", "own id", "own id, no EUR", "its kind", "named", "id for each", "rare",
		"id that repeats"}
}

// change changes the options of a route.
func (p plan) change(random *rand.Rand, r *route) {
	if r.mapping == nil || random.IntN(2) == 0 {
		r.mapping = mappings[pick(random, r.mappingsFor()...)]
	}
	r.history = pick(random, 1, 4, 16, 64, 256)
	r.size = pick(random, "1KiB", "16KiB", "1MiB")
	r.replay = pick(random, 0, 0, 1, 10)
	r.linger = pick(random, "100ms", "1s", "5s")
	r.lag = pick(random, "disconnect", "skip")
	if behaves(r.tag, fat) {
		r.size, r.lag = "16KiB", pick(random, "disconnect", "skip", "skip", "skip")
	}
	r.keep = random.IntN(5) == 0
	r.compress = random.IntN(2) == 0
}

// next returns the routes of the next config.
func (p plan) next(generation int, before []*route) []*route {
	random := p.random("config", generation)
	routes := slices.Clone(before)
	for range random.IntN(5) { // without a change, it is a reload of the same config
		i := random.IntN(len(routes))
		r := *routes[i]
		switch what := random.IntN(10); {
		case what < 6:
			p.change(random, &r)
		case what < 8 && r.kind != "listen" && r.kind != "file":
			r.tag = version(r.tag, generation)
		default:
			routes = p.move(random, generation, routes)
			continue
		}
		routes[i] = &r
	}
	return routes
}

// move adds, removes and moves routes. Routes with the role ghost are for clients that never come. The route with the role admin gets
// requests only while it is before the public one.
func (p plan) move(random *rand.Rand, generation int, routes []*route) []*route {
	decoy := slices.IndexFunc(routes, func(r *route) bool { return r.role == "ghost" })
	admin := slices.IndexFunc(routes, func(r *route) bool { return r.role == "admin" })
	public := slices.IndexFunc(routes, func(r *route) bool { return r.path == "/role" && r.role == "" })
	switch what := random.IntN(4); {
	case what == 0 && decoy >= 0:
		return slices.Delete(routes, decoy, decoy+1)
	case what <= 1:
		r := *pick(random, routes...)
		r.role, r.tag = "ghost", fmt.Sprintf("ghostv%d.", generation)
		if r.kind != "proxy" {
			r = route{path: "/role", role: "ghost", kind: "proxy", tag: r.tag, share: "{path}"}
			p.change(random, &r)
		}
		return slices.Insert(routes, random.IntN(len(routes)+1), &r)
	case what == 2 && admin >= 0:
		return slices.Delete(routes, admin, admin+1)
	case public < 0:
		return routes
	case admin < 0:
		r := *routes[public]
		r.role, r.tag = "admin", "adminv0."
		return slices.Insert(routes, random.IntN(len(routes)+1), &r)
	default: // after the public one, it gets no requests
		routes[admin], routes[public] = routes[public], routes[admin]
		return routes
	}
}

// find returns the route that answers a request.
func find(routes []*route, path, role string) *route {
	for _, r := range routes {
		if r.path == path && (r.role == "" || r.role == role) {
			return r
		}
	}
	return nil
}

func pick[T any](random *rand.Rand, from ...T) T { return from[random.IntN(len(from))] }
