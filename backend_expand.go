package sse

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
)

// lastIDPlaceholder is, in a backend's argument, the id of the last event that was delivered, empty at first.
const lastIDPlaceholder = "last_id"

// argument is an argument of a backend, whose placeholders are expanded in two steps: those of the request when
// the request comes, {last_id} and those of the server (env., system., time., file.) each time that the upstream is
// opened. No value is expanded again, and none leaves the place it was written in.
type argument struct {
	parts []*mapping.Template
	place place
}

// place is where an argument's values go.
type place struct {
	escape  func(name, value string) string // keeps a value from being more than a value; nil: it is taken as it is
	refused string                          // characters that a client's value must not have
}

// asText is a place where a value is nothing but text, such as an argument of a command.
var asText = place{}

// asLine is a place where a client's value must not begin another line, which would be another header or command.
var asLine = place{refused: "\r\n"}

// errRecordInArgument does not repeat the argument, which may hold a password.
var errRecordInArgument = errors.New(`{record} and {seq} are for templates: an upstream is opened before it has a record (write \{ for a brace that is text)`)

// parseArgument compiles an argument. There is no record yet when a backend is opened, so that {record} and {seq}
// are errors.
func parseArgument(text string, p place) (argument, error) {
	t, err := mapping.ParseTemplate(text)
	if err != nil || t.UsesRecord() { // a mistake in a template is one in a placeholder of these
		return argument{}, errRecordInArgument
	}
	return argument{parts: []*mapping.Template{t}, place: p}, nil
}

// placeholders are the names in braces that are still to be expanded.
func (a argument) placeholders() []string {
	var names []string
	for _, t := range a.parts {
		names = append(names, t.Placeholders()...)
	}
	return names
}

// isFixed is whether there is nothing to expand.
func (a argument) isFixed() bool { return len(a.placeholders()) == 0 }

// bind expands the placeholders of a request. The error is a 400: the request has a value that cannot stand here.
func (a argument) bind(r *http.Request) (argument, error) {
	if a.isFixed() {
		return a, nil
	}
	find := lookup(r)
	return a.replace(func(name string) (string, bool, error) {
		if name == lastIDPlaceholder || !mapping.DependOnRequest([]string{name}) {
			return "", false, nil
		}
		value, known := find(name)
		if !known {
			return "", false, nil
		}
		value, err := a.place.put(name, value)
		return value, true, err
	})
}

// expand expands what is left when the upstream is opened. The error is a 400: lastID cannot stand here.
func (a argument) expand(lastID string) (string, error) {
	if a.isFixed() {
		return a.text(), nil
	}
	repl := caddy.NewReplacer()
	expanded, err := a.replace(func(name string) (string, bool, error) {
		if name == lastIDPlaceholder {
			value, err := a.place.put(name, lastID)
			return value, true, err
		}
		value, known := repl.GetString(name)
		if known && a.place.escape != nil {
			value = a.place.escape(name, value)
		}
		return value, known, nil
	})
	return expanded.text(), err
}

// put makes a client's value fit for its place.
func (p place) put(name, value string) (string, error) {
	// NUL ends paths and arguments early in many a place, and marks what is not expanded yet in keys.
	if i := strings.IndexAny(value, "\x00"+p.refused); i >= 0 {
		return "", caddyhttp.Error(http.StatusBadRequest, fmt.Errorf("value of {%s} must not have %q in it here", name, value[i]))
	}
	if p.escape != nil {
		value = p.escape(name, value)
	}
	return value, nil
}

func (a argument) replace(find func(name string) (value string, known bool, err error)) (argument, error) {
	var failed error
	bound := argument{parts: make([]*mapping.Template, len(a.parts)), place: a.place}
	for i, t := range a.parts {
		bound.parts[i] = t.Bind(func(name string) (string, bool) {
			value, known, err := find(name)
			if err != nil {
				failed = err
			}
			return value, known
		})
	}
	return bound, failed
}

// text is the argument; placeholders that are not expanded are as they were written.
func (a argument) text() string {
	var text []byte
	for _, t := range a.parts {
		text = t.Append(text, new(mapping.Document))
	}
	return string(text)
}

// key is the argument with what is not expanded yet told from text that looks the same.
func (a argument) key() string {
	marked, _ := a.replace(func(name string) (string, bool, error) { return "\x00" + name + "\x00", true, nil })
	return marked.text()
}

// parseArguments compiles arguments that are text.
func parseArguments(texts []string) ([]argument, error) {
	list := make([]argument, len(texts))
	for i, text := range texts {
		var err error
		if list[i], err = parseArgument(text, asText); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func bindAll(list []argument, r *http.Request) ([]argument, error) {
	bound := make([]argument, len(list))
	for i, a := range list {
		var err error
		if bound[i], err = a.bind(r); err != nil {
			return nil, err
		}
	}
	return bound, nil
}

func expandAll(list []argument, lastID string) ([]string, error) {
	texts := make([]string, len(list))
	for i, a := range list {
		var err error
		if texts[i], err = a.expand(lastID); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

func keysOf(list []argument) string {
	keys := make([]string, len(list))
	for i, a := range list {
		keys[i] = a.key()
	}
	return Key(keys...)
}

// readSize is the most that is read at once of a socket or a pipe: what Linux keeps in a pipe.
const readSize = 64 << 10

// onlyGlobal refuses placeholders that have no value without a request.
func onlyGlobal(a argument) error {
	names := a.placeholders()
	if i := slices.IndexFunc(names, func(name string) bool { return mapping.DependOnRequest([]string{name}) }); i >= 0 {
		return fmt.Errorf("{%s} has no value here: only placeholders of the server (env., system., time., file.) can be used", names[i])
	}
	return nil
}

func checkArgument(text string) error {
	_, err := parseArgument(text, asText)
	return err
}
