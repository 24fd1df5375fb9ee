package argument

import (
	"net/http"
	"slices"

	"github.com/seed-4dedbcea/caddy-sse/backend"
)

// List is several arguments, such as those of a command.
type List []Argument

// ParseList compiles arguments that are text.
func ParseList(texts []string) (List, error) {
	list := make(List, len(texts))
	for i, text := range texts {
		var err error
		if list[i], err = Parse(text, Text); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Bind binds each argument.
func (list List) Bind(r *http.Request) (List, error) {
	bound := make(List, len(list))
	for i, a := range list {
		var err error
		if bound[i], err = a.Bind(r); err != nil {
			return nil, err
		}
	}
	return bound, nil
}

// Expand expands each argument.
func (list List) Expand(last string) ([]string, error) {
	texts := make([]string, len(list))
	for i, a := range list {
		var err error
		if texts[i], err = a.Expand(last); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// UsesLastID reports whether {last_id} is one of the placeholders of an argument.
func (list List) UsesLastID() bool { return slices.ContainsFunc(list, Argument.UsesLastID) }

// Key joins the keys of all arguments.
func (list List) Key() string {
	keys := make([]string, len(list))
	for i, a := range list {
		keys[i] = a.Key()
	}
	return backend.Key(keys...)
}
