//go:build integration

package clients_test

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The ways from an upstream to a client.
const (
	direct    = "direct"    // an upstream that speaks plain event streams, without us
	converted = "converted" // an upstream that speaks lines of JSON
	passed    = "passed"    // an upstream that speaks event streams itself
	shared    = "shared"    // lines of JSON, by one upstream for all clients
)

// A testCase is a column of the matrix.
type testCase struct {
	name    string // in URLs
	title   string
	way     string
	options string // of sse
	events  int
	size    int // of each event's payload
	quiet   pause
	breaks  bool // the upstream breaks off in the middle
	reloads bool // Caddy's config is loaded anew in the middle
	ends    bool // clients are told to stay away
}

// heavy is whether clients need much of the processor for it.
func (c testCase) heavy() bool { return c.events > 1000 || c.size > 1000 }

func (c testCase) patience() time.Duration {
	if c.events > 1000 {
		return heavyPatience
	}
	return patience
}

type pause int

const (
	never pause = iota
	beforeTheFirst
	betweenTwo
)

// silence is so long that some heartbeats fall into it.
const silence = 700 * time.Millisecond

var cases = []testCase{
	{name: "heartbeats", title: "heartbeats before the first record", way: converted, options: "heartbeat 200ms", events: 6, quiet: beforeTheFirst},
	{name: "heartbeats-passed", title: "heartbeats, passed", way: passed, options: "heartbeat 200ms", events: 6, quiet: betweenTwo},
	{name: "retry", title: "retry", way: converted, options: "retry 1s", events: 6},
	{name: "shared", title: "shared", way: shared, events: 6},
	{name: "broken", title: "broken", way: converted, events: 6, breaks: true},
	{name: "broken-passed", title: "broken, passed", way: passed, events: 6, breaks: true},
	{name: "reload", title: "reload", way: converted, options: "drain 1s\nheartbeat off", events: 6, reloads: true},
	{name: "reload-passed", title: "reload, passed", way: passed, options: "drain 1s\nheartbeat off", events: 6, reloads: true},
	{name: "large", title: "1 MB", way: converted, events: 3, size: 1_000_000},
	{name: "many", title: "10,000 events", way: converted, events: 10_000},
	{name: "end", title: "end and stop", way: converted, events: 6, ends: true},
}

// outcome says in a few words what a client made of a run.
func outcome(c testCase, client client, said report, requests int) string {
	wanted := make([]string, c.events)
	for i := range wanted {
		wanted[i] = payload(i+1, c.size)
	}
	shown := slices.DeleteFunc(slices.Clone(said.Shown), func(text string) bool { return text == "" })
	var words []string
	switch {
	case slices.Equal(shown, wanted):
		switch {
		case client.resumes && c.ends && !said.StaysAway:
			words = append(words, "comes back")
		case client.resumes && c.ends:
			words = append(words, "stays away")
		case client.resumes && (c.breaks || c.reloads):
			words = append(words, "resumes")
		case !client.resumes && c.breaks && requests > 1:
			words = append(words, "asks again") // and cannot have shown what it wants of one answer
		default:
			words = append(words, "whole")
		}
		if !client.resumes && said.Error != "" {
			words = append(words, "and an error")
		}
	case len(shown) < len(wanted) && slices.Equal(shown, wanted[:len(shown)]):
		switch {
		case said.Error != "" && c.breaks:
			words = append(words, "noticed")
		case said.Error != "":
			words = append(words, "error")
		case c.breaks:
			words = append(words, "taken for whole")
		default:
			words = append(words, "cut off")
		}
	case len(shown) > len(wanted):
		words = append(words, "repeated")
	default:
		words = append(words, "wrong")
	}
	if len(shown) < len(said.Shown) {
		words = append(words, "and empty events")
	}
	return strings.Join(words, " ")
}

// good are the outcomes that leave nothing to be wished for.
func good(c testCase, client client) string {
	switch {
	case c.breaks && !client.resumes:
		return "noticed"
	case c.ends && client.resumes:
		return "stays away"
	case (c.breaks || c.reloads) && client.resumes:
		return "resumes"
	}
	return "whole"
}

// config is the Caddyfile of a site in which each case has a handle for each dialect.
func config(upstream string) string {
	var text strings.Builder
	for _, c := range cases {
		for name := range dialects {
			fmt.Fprintf(&text, "handle /%s/%s/%s/* {\n%s}\n", c.way, c.name, name, routeOf(c, name, upstream))
		}
	}
	fmt.Fprintf(&text, "handle {\nreverse_proxy %s\n}\n", upstream)
	return text.String()
}

func routeOf(c testCase, dialect, upstream string) string {
	options := []string{c.options}
	plain := dialect == "plain" || dialect == "htmx" || dialect == "turbo"
	switch {
	case dialect == "ollama":
		options = append(options, "accept negotiate") // its clients read lines
	case c.way == passed:
	case plain:
		options = append(options, "id {record.n}")
		if dialect != "plain" {
			options = append(options, "data {record.html}")
		}
	case dialect == "anthropic":
		options = append(options, "event {record.type}")
	}
	if c.ends || c.way == shared {
		switch {
		case plain:
			options = append(options, "end done stop")
		case dialect == "openai":
			options = append(options, "end message [DONE] stop")
		case dialect == "anthropic":
			options = append(options, "end ping `{\"type\":\"ping\"}`") // it reads each event's data as JSON
		default:
			options = append(options, "end done")
		}
	}
	next := "reverse_proxy " + upstream + "\n"
	if c.way == shared {
		method := "POST"
		if plain {
			method = "GET"
		}
		options = append(options, "share", fmt.Sprintf("backend http http://%s{uri} {\nmethod %s\nbody {http.request.body}\n}", upstream, method))
		next = ""
	}
	return "sse {\n" + strings.Join(options, "\n") + "\n}\n" + next
}
