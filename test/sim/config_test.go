package sim_test

import (
	"fmt"
	"strings"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// addresses are the addresses of the upstreams.
type addresses struct {
	http, dial string
	folder     string // the folder of the logs and the sockets
}

// caddyfile returns the config of a generation. Its responses name the generation, because the old config may still answer requests
// on an old connection.
func (a addresses) caddyfile(generation int, routes []*route) string {
	var b strings.Builder
	fmt.Fprintf(&b, "header X-Generation %d\nroute {\n", generation)
	for i, r := range routes {
		fmt.Fprintf(&b, "@%d {\npath %s\n", i, r.path)
		if r.role != "" {
			fmt.Fprintf(&b, "header X-Role %s\n", r.role)
		}
		fmt.Fprintf(&b, "}\nhandle @%d {\n%s}\n", i, a.handler(r))
	}
	b.WriteString("}\n")
	return "{\nadmin 127.0.0.1:{{port \"admin\"}}\n}\n" + ssetest.Site(b.String())
}

func (a addresses) handler(r *route) string {
	var b strings.Builder
	b.WriteString("sse {\n")
	family := map[string]string{"": "{query.who}", "{query.k}": "{query.k}"}[r.share]
	if family == "" {
		family = "all"
	}
	switch r.kind {
	case "http":
		fmt.Fprintf(&b, "backend http http://%s/?tag=%s&family=%s {\nheader Last-Event-ID {last_id}\n}\n", a.http, r.tag, family)
	case "dial":
		fmt.Fprintf(&b, "backend dial %s {\nsend \"%s %s {last_id}\\n\"\n}\n", a.dial, r.tag, family)
	case "listen":
		fmt.Fprintf(&b, "backend listen unix/%s\n", a.socket(r.tag))
	case "file":
		fmt.Fprintf(&b, "backend file %s\n", a.log(r.tag))
	}
	if m := r.mapping.caddyfile; m != "" {
		fmt.Fprintln(&b, m)
	}
	if r.end {
		b.WriteString("end over\n")
	}
	if r.keep {
		b.WriteString("on_reload keep\n")
	}
	if r.compress {
		b.WriteString("compress\n")
	}
	b.WriteString("drain 300ms\nretry 100ms\nheartbeat 1s\nstall_timeout 3s\n")
	if r.share != "" {
		key := r.share
		if key == "default" {
			key = ""
		}
		fmt.Fprintf(&b, "share %s {\nhistory %d %s\nreplay %d\nlinger %s\nlag %s\n}\n", key, r.history, r.size, r.replay, r.linger, r.lag)
	}
	b.WriteString("}\n")
	if r.kind == "proxy" {
		family := map[string]string{
			"": "{scheme} {query.who}", "{query.k}": "{scheme} {query.k}", "default": "{scheme} {query.who} {query.k}",
		}[r.share]
		if family == "" {
			family = "{scheme}"
		}
		fmt.Fprintf(&b, "reverse_proxy %s {\nheader_up X-Tag \"%s\"\nheader_up X-Family \"%s\"\n}\n", a.http, r.tag, family)
	}
	return b.String()
}

// socket and log return the path of a socket for backend listen, and that of a log for backend file.
func (a addresses) socket(tag string) string { return a.folder + "/" + tag + "sock" }
func (a addresses) log(tag string) string    { return a.folder + "/" + tag + "log" }
