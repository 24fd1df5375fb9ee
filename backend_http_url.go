package sse

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Places in a URL.
var (
	asPathPart  = place{escape: url.PathEscape}
	asQueryPart = place{escape: url.QueryEscape}
)

func (b *HTTPBackend) compileURL() (err error) {
	base, path, query := splitURL(b.URL)
	if scheme, host, ok := strings.Cut(base, "://"); ok && host == "unix" && (strings.HasPrefix(path, "//") || strings.HasPrefix(path, "/@")) {
		socket, rest, _ := strings.Cut(path[1:], ":")
		base, path = scheme+"://localhost", rest
		if b.socket, err = parseArgument(socket, asText); err != nil {
			return err
		}
		if err := onlyGlobal(b.socket); err != nil {
			return err
		}
	}
	b.url = make([]argument, 3)
	if b.url[0], err = parseArgument(base, asHost); err != nil {
		return err
	}
	if b.url[1], err = parseArgument(path, asPathPart); err != nil {
		return err
	}
	if b.url[2], err = parseArgument(query, asQueryPart); err != nil {
		return err
	}
	if slices.ContainsFunc(b.url, func(a argument) bool { return !a.isFixed() }) {
		return nil
	}
	_, err = b.parseURL([]string{base, path, query})
	return err
}

// splitURL splits a URL before its path and before its query. What is in braces is not looked at.
func splitURL(text string) (base, path, query string) {
	start := 0
	if i := strings.Index(text, "://"); i >= 0 {
		start = i + len("://")
	}
	pathAt, depth := -1, 0
	for i := start; i < len(text); i++ {
		switch c := text[i]; {
		case c == '{':
			depth++
		case c == '}':
			depth = max(depth-1, 0)
		case depth > 0:
		case c == '/' && pathAt < 0:
			pathAt = i
		case c == '?':
			if pathAt < 0 {
				pathAt = i
			}
			return text[:pathAt], text[pathAt:i], text[i:]
		}
	}
	if pathAt < 0 {
		pathAt = len(text)
	}
	return text[:pathAt], text[pathAt:], ""
}

// parseURL parses an expanded URL.
func (b *HTTPBackend) parseURL(parts []string) (*url.URL, error) {
	u, err := url.Parse(strings.Join(parts, ""))
	if err != nil {
		return nil, plainError(err) // user, password and query may be secret
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("%q must be a URL that begins with http:// or https:// and a host", u.Scheme+"://"+u.Host)
	}
	return u, nil
}

// hasDotSegment is whether a server would take a path for another one (RFC 3986 §5.2.4).
func hasDotSegment(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}
