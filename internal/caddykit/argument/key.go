package argument

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Key tells requests apart by its placeholders.
type Key struct{ argument Argument }

// ParseKey compiles a key. It comes before any record: {record} would be the same nothing for all requests, and a
// placeholder that is not closed the same text.
func ParseKey(text string) (Key, error) {
	if open := unclosed(text); open != "" {
		return Key{}, fmt.Errorf("key %q: the placeholder %s is not closed: write a } after it, or \\{ for a brace that is text", text, open)
	}
	a, err := Parse(text, Text)
	return Key{a}, err
}

// CheckKey reports what is wrong with a key.
func CheckKey(text string) error {
	_, err := ParseKey(text)
	return err
}

// Expand gives the key the values of a request. A placeholder that nobody knows is an error, since it would be the same
// text for all requests.
func (k Key) Expand(r *http.Request) (string, error) {
	find := Lookup(r)
	bound, err := k.argument.replace(func(name string) (string, bool, error) {
		value, known := find(name)
		if !known {
			return "", false, caddyhttp.Error(http.StatusInternalServerError, fmt.Errorf("key: nothing knows the placeholder {%s} for this request", name))
		}
		return value, true, nil
	})
	return bound.Text(), err
}

// unclosed returns the beginning of the first placeholder that is not closed, or "".
func unclosed(text string) string {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '{':
			n := strings.IndexAny(text[i+1:], "{}")
			if n < 0 {
				return text[i:]
			}
			if text[i+1+n] == '{' {
				return text[i : i+1+n]
			}
			i += n
		}
	}
	return ""
}
