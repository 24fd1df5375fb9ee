package http

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
)

// The places in a URL.
var (
	asPathPart  = argument.Place{Escape: escapeInPath}
	asQueryPart = argument.Place{Escape: escapeInQuery}
)

// escapeInPath escapes a value so that it stays within one segment of the path. The path of the client's request keeps its slashes, and
// its URI is not escaped, as it is a path and a query already.
func escapeInPath(name, value string) string {
	part, isURI := uriPart(name)
	switch {
	case !isURI:
		return url.PathEscape(value)
	case part == "", part == ".path", part == ".path.dir":
		value = "/" + strings.TrimPrefix(value, "/") // a rewritten path without a slash must not extend the host
		if part != "" {
			return (&url.URL{Path: value}).EscapedPath()
		}
		return withoutFragment(value)
	case part == ".prefixed_query":
		return withoutFragment(value)
	case isEscaped(part):
		return value
	default:
		return url.PathEscape(value)
	}
}

// escapeInQuery escapes a value so that it stays within one parameter of the query. The query of the client's request is not escaped.
func escapeInQuery(name, value string) string {
	switch part, _ := uriPart(name); {
	case part == ".query":
		return withoutFragment(value)
	case isEscaped(part):
		return value
	default:
		return url.QueryEscape(value)
	}
}

// uriPart returns the part of the request's URI that a placeholder stands for, as the suffix of its name. The part is empty for the whole
// URI.
func uriPart(name string) (part string, isURI bool) {
	for _, uri := range []string{"http.request.uri", "http.request.orig_uri"} {
		if part, isURI = strings.CutPrefix(name, uri); isURI {
			return part, true
		}
	}
	return "", false
}

// isEscaped reports whether Caddy has escaped the value of this part. {query.x_escaped} is not escaped: it is the parameter x_escaped.
func isEscaped(part string) bool {
	return slices.Contains([]string{"_escaped", ".path_escaped", ".query_escaped", ".prefixed_query_escaped", ".path.file_escaped"}, part)
}

// beginsPath reports whether a placeholder's value begins with the slash of a path, or with the question mark of a query.
func beginsPath(name string) bool {
	part, isURI := uriPart(name)
	return isURI && slices.Contains([]string{"", ".path", ".path.dir", ".prefixed_query"}, part)
}

// withoutFragment escapes #. Go's server takes it for a part of the query, but in this URL it would end the query.
func withoutFragment(text string) string { return strings.ReplaceAll(text, "#", "%23") }

func (b *Backend) compileURL() (err error) {
	base, path, query := splitURL(b.URL)
	if scheme, host, ok := strings.Cut(base, "://"); ok && host == "unix" && (strings.HasPrefix(path, "//") || strings.HasPrefix(path, "/@")) {
		socket, rest, _ := strings.Cut(path[1:], ":")
		base, path = scheme+"://localhost", rest
		if b.socket, err = argument.Parse(socket, argument.Text); err != nil {
			return err
		}
		if err := b.socket.CheckGlobal(); err != nil {
			return err
		}
	}
	b.url = make(argument.List, 3)
	if b.url[0], err = argument.Parse(base, argument.Host); err != nil {
		return err
	}
	if b.url[1], err = argument.Parse(path, asPathPart); err != nil {
		return err
	}
	if b.url[2], err = argument.Parse(query, asQueryPart); err != nil {
		return err
	}
	if slices.ContainsFunc(b.url, func(a argument.Argument) bool { return !a.IsFixed() }) {
		return nil
	}
	_, err = b.parseURL([]string{base, path, query})
	return err
}

// splitURL splits a URL before its path and before its query. A placeholder such as {path} also begins the path.
func splitURL(text string) (base, path, query string) {
	start := 0
	if i := strings.Index(text, "://"); i >= 0 {
		start = i + len("://")
	}
	pathAt, depth := -1, 0
	for i := start; i < len(text); i++ {
		switch c := text[i]; {
		case c == '{':
			if name, _, _ := strings.Cut(text[i+1:], "}"); pathAt < 0 && beginsPath(name) {
				pathAt = i
			}
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

// errURL does not repeat the URL. User, password, path and query may be secret, and in an invalid URL, a secret may be in any part: in
// http://user:p/w@host/, the port is "p".
var errURL = errors.New("must be a URL that begins with http:// or https:// and a host, with %XX for special characters in a user, password, path or query")

// parseURL parses an expanded URL.
func (b *Backend) parseURL(parts []string) (*url.URL, error) {
	u, err := url.Parse(strings.Join(parts, ""))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.Contains(parts[0], "#") {
		return nil, errURL
	}
	return u, nil
}

// hasDotSegment reports whether the path has . or .. as a segment, which a server would remove (RFC 3986 §5.2.4).
func hasDotSegment(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}
