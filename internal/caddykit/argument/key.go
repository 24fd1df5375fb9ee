package argument

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Key is text with placeholders whose values tell requests apart.
type Key struct{ argument Argument }

// ParseKey compiles a key. {record} is an error, because it would be empty for all requests. A placeholder that is not closed is an
// error too, because it would be the same text for all requests.
func ParseKey(text string) (Key, error) {
	if open := unclosed(text); open != "" {
		return Key{}, fmt.Errorf("key %q: the placeholder %s is not closed: write a } after it, or \\{ for a brace that is text", text, open)
	}
	a, err := Parse(text, Text)
	return Key{a}, err
}

// CheckKey returns an error for an invalid key.
func CheckKey(text string) error {
	_, err := ParseKey(text)
	return err
}

// Expand returns the key with the values of a request. An unknown placeholder is an error, because it would be the same text for all
// requests.
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
