// Package argument expands the placeholders in a backend's arguments. It ensures that a value stays a value: it cannot become
// another part of a URL or another line of a header, for example.
package argument

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

// lastID is the placeholder for the id of the last event that was delivered. The id is empty at first.
const lastID = "last_id"

// Argument is an argument of a backend. Its placeholders are expanded in two steps. Bind expands those of the request. Expand
// expands {last_id} and those of the server (env., system., time., file.), each time the upstream is opened. A value is never
// expanded again.
type Argument struct {
	parts []*mapping.Template
	place Place
}

// Place is the kind of text that the values become a part of.
type Place struct {
	Escape  func(name, value string) string // escapes a value; nil: values stay as they are
	Refused string                          // characters that a client's value must not have
}

var (
	// Text is a place where no character has a special meaning, such as an argument of a command.
	Text = Place{}
	// Line is a place where a client's value must not start another line, such as another header or command.
	Line = Place{Refused: "\r\n"}
	// Host is a host or a network address. A client's value must not turn it into something else, such as another network or
	// the path of a socket.
	Host = Place{Refused: "/\\?#@ \t\r\n"}
)

// errRecord does not repeat the argument, which may hold a password.
var errRecord = errors.New(`{record}, {line} and {seq} are for templates: an upstream is opened before it has a record (write \{ for a brace that is text)`)

// Parse compiles an argument. {record}, {line} and {seq} are errors, because an upstream is opened before it has a record.
func Parse(text string, p Place) (Argument, error) {
	t, err := mapping.ParseTemplate(text)
	if err != nil || t.UsesRecord() { // an error is always about one of these placeholders
		return Argument{}, errRecord
	}
	return Argument{parts: []*mapping.Template{t}, place: p}, nil
}

// Check returns an error for an invalid argument in the place Text.
func Check(text string) error {
	_, err := Parse(text, Text)
	return err
}

// Join joins arguments to one. All of its values are in the same place.
func Join(p Place, arguments ...Argument) Argument {
	joined := Argument{place: p}
	for _, a := range arguments {
		joined.parts = append(joined.parts, a.parts...)
	}
	return joined
}

// placeholders returns the names of the placeholders that are not expanded yet.
func (a Argument) placeholders() []string {
	var names []string
	for _, t := range a.parts {
		names = append(names, t.Placeholders()...)
	}
	return names
}

// IsFixed reports whether the argument has no placeholders to expand.
func (a Argument) IsFixed() bool { return len(a.placeholders()) == 0 }

// UsesLastID reports whether {last_id} is one of the placeholders.
func (a Argument) UsesLastID() bool { return slices.Contains(a.placeholders(), lastID) }

// CheckGlobal returns an error for a placeholder that has no value without a request.
func (a Argument) CheckGlobal() error {
	names := a.placeholders()
	if i := slices.IndexFunc(names, dependsOnRequest); i >= 0 {
		return fmt.Errorf("{%s} has no value here: only placeholders of the server (env., system., time., file.) can be used", names[i])
	}
	return nil
}

func dependsOnRequest(name string) bool { return mapping.DependOnRequest([]string{name}) }

// Bind expands the placeholders of the request. It returns an error with the status 400 if a value has a refused character.
func (a Argument) Bind(r *http.Request) (Argument, error) {
	if a.IsFixed() {
		return a, nil
	}
	find := Lookup(r)
	return a.replace(func(name string) (string, bool, error) {
		if name == lastID || !dependsOnRequest(name) {
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

// Expand expands the remaining placeholders when the upstream is opened. last is the id of the last event. It returns an error
// with the status 400 if that id has a refused character.
func (a Argument) Expand(last string) (string, error) {
	if a.IsFixed() {
		return a.Text(), nil
	}
	repl := caddy.NewReplacer()
	expanded, err := a.replace(func(name string) (string, bool, error) {
		if name == lastID {
			value, err := a.place.put(name, last)
			return value, true, err
		}
		value, known := repl.GetString(name)
		if known && a.place.Escape != nil {
			value = a.place.Escape(name, value)
		}
		return value, known, nil
	})
	return expanded.Text(), err
}

// put checks and escapes a client's value.
func (p Place) put(name, value string) (string, error) {
	// NUL ends paths and arguments in many system calls. In Argument.Key, it marks placeholders.
	if i := strings.IndexAny(value, "\x00"+p.Refused); i >= 0 {
		return "", caddyhttp.Error(http.StatusBadRequest, fmt.Errorf("value of {%s} must not have %q in it here", name, value[i]))
	}
	if p.Escape != nil {
		value = p.Escape(name, value)
	}
	return value, nil
}

func (a Argument) replace(find func(name string) (value string, known bool, err error)) (Argument, error) {
	var failed error
	bound := Argument{parts: make([]*mapping.Template, len(a.parts)), place: a.place}
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

// Text returns the argument. Placeholders that are not expanded yet stay as they were written.
func (a Argument) Text() string {
	var text []byte
	for _, t := range a.parts {
		text = t.Append(text, new(mapping.Document))
	}
	return string(text)
}

// Key returns the argument for a key. It marks placeholders that are not expanded yet, so that no value looks like one.
func (a Argument) Key() string {
	marked, _ := a.replace(func(name string) (string, bool, error) { return "\x00" + name + "\x00", true, nil })
	return marked.Text()
}

// Lookup returns a function that finds the values of a request's placeholders.
func Lookup(r *http.Request) func(name string) (value string, known bool) {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).GetString
}
