package sse

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// parseKey compiles what tells requests apart. It has placeholders, but comes before any record: {record} would be the
// same nothing for all of them, and a placeholder that is not closed the same text.
func parseKey(text string) (argument, error) {
	if open := unclosed(text); open != "" {
		return argument{}, fmt.Errorf("key %q: the placeholder %s is not closed: write a } after it, or \\{ for a brace that is text", text, open)
	}
	return parseArgument(text, asText)
}

// unclosed is the beginning of the first placeholder that is not closed, "" if there is none.
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

func checkKey(text string) error {
	_, err := parseKey(text)
	return err
}

// expandKey gives a key the values of a request. One that nobody knows would be the same text for all requests.
func expandKey(key argument, r *http.Request) (string, error) {
	find := lookup(r)
	bound, err := key.replace(func(name string) (string, bool, error) {
		value, known := find(name)
		if !known {
			return "", false, caddyhttp.Error(http.StatusInternalServerError, fmt.Errorf("key: nothing knows the placeholder {%s} for this request", name))
		}
		return value, true, nil
	})
	return bound.text(), err
}
