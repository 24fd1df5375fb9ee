// Package argument expands the placeholders of a backend's arguments. It keeps each value in the place it was written
// in.
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

// lastID is the placeholder of the id of the last event that was delivered. It is empty at first.
const lastID = "last_id"

// Argument is an argument of a backend. Its placeholders are expanded in two steps: those of the request when the
// request comes; {last_id} and those of the server (env., system., time., file.) each time the upstream is opened. No
// value is expanded again.
type Argument struct {
	parts []*mapping.Template
	place Place
}

// Place is where an argument's values go.
type Place struct {
	Escape  func(name, value string) string // keeps a value from being more than a value; nil takes it as it is
	Refused string                          // characters that a client's value must not have
}

var (
	// Text is a place where a value is nothing but text, such as an argument of a command.
	Text = Place{}
	// Line is a place where a client's value must not begin another line: that would be another header or command.
	Line = Place{Refused: "\r\n"}
	// Host is a host or a network address, in which a client's value must not become anything else, such as another
	// network or the path of a socket.
	Host = Place{Refused: "/\\?#@ \t\r\n"}
)

// errRecord does not repeat the argument, which may hold a password.
var errRecord = errors.New(`{record}, {line} and {seq} are for templates: an upstream is opened before it has a record (write \{ for a brace that is text)`)

// Parse compiles an argument. {record}, {line} and {seq} are errors, since there is no record yet when a backend is opened.
func Parse(text string, p Place) (Argument, error) {
	t, err := mapping.ParseTemplate(text)
	if err != nil || t.UsesRecord() { // a mistake in a template is always one in a placeholder of these
		return Argument{}, errRecord
	}
	return Argument{parts: []*mapping.Template{t}, place: p}, nil
}

// Check reports what is wrong with an argument that is text.
func Check(text string) error {
	_, err := Parse(text, Text)
	return err
}

// Join makes one argument of several. All its values go to the same place.
func Join(p Place, arguments ...Argument) Argument {
	joined := Argument{place: p}
	for _, a := range arguments {
		joined.parts = append(joined.parts, a.parts...)
	}
	return joined
}

// placeholders returns the names in braces that are still to be expanded.
func (a Argument) placeholders() []string {
	var names []string
	for _, t := range a.parts {
		names = append(names, t.Placeholders()...)
	}
	return names
}

// IsFixed reports whether there is nothing to expand.
func (a Argument) IsFixed() bool { return len(a.placeholders()) == 0 }

// CheckGlobal rejects placeholders that have no value without a request.
func (a Argument) CheckGlobal() error {
	names := a.placeholders()
	if i := slices.IndexFunc(names, dependsOnRequest); i >= 0 {
		return fmt.Errorf("{%s} has no value here: only placeholders of the server (env., system., time., file.) can be used", names[i])
	}
	return nil
}

func dependsOnRequest(name string) bool { return mapping.DependOnRequest([]string{name}) }

// Bind expands the placeholders of a request. The error is a 400: the request has a value that cannot stand here.
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

// Expand expands what is left when the upstream is opened, where the last event has the id last. The error is a 400:
// that id cannot stand here.
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

// put makes a client's value fit its place.
func (p Place) put(name, value string) (string, error) {
	// NUL ends paths and arguments early in many places, and marks what is not expanded yet in keys.
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

// Text returns the argument. Placeholders that are not expanded stay as they were written.
func (a Argument) Text() string {
	var text []byte
	for _, t := range a.parts {
		text = t.Append(text, new(mapping.Document))
	}
	return string(text)
}

// Key returns the argument with its unexpanded placeholders marked, so that no text looks like one.
func (a Argument) Key() string {
	marked, _ := a.replace(func(name string) (string, bool, error) { return "\x00" + name + "\x00", true, nil })
	return marked.Text()
}

// Lookup returns a function that finds the values of a request's placeholders.
func Lookup(r *http.Request) func(name string) (value string, known bool) {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).GetString
}
