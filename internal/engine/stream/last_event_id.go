package stream

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// LastEventID returns the id of the last event that the client has received. It comes from the Last-Event-ID header (WHATWG HTML
// §9.2.4), or from the query parameter lastEventId, for clients that cannot set a header.
func LastEventID(r *http.Request) string {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		return id
	}
	if r.URL.RawQuery == "" {
		return ""
	}
	return r.URL.Query().Get(lastEventIDParameter)
}

const lastEventIDParameter = "lastEventId"

// TakeLastEventID moves the id of the last event from the query to the header, so that the remaining URL identifies the
// resource, the same for new and returning clients.
func TakeLastEventID(r *http.Request) *http.Request {
	id := LastEventID(r)
	query := WithoutLastEventID(r.URL.RawQuery)
	if query == r.URL.RawQuery {
		return r
	}
	r = r.WithContext(r.Context())
	r.Header = r.Header.Clone()
	r.Header.Set("Last-Event-ID", id)
	r.URL.RawQuery = query // in place, as rewriting handlers do, so that placeholders have the new value
	hideFromOriginal(r)
	return r
}

// hideFromOriginal removes the id from the placeholders for the original URI. The original request itself cannot be changed, because
// other handlers have it already.
func hideFromOriginal(r *http.Request) {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok {
		return
	}
	uri := *original.URL
	uri.RawQuery = WithoutLastEventID(uri.RawQuery)
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	repl.Set("http.request.orig_uri", uri.RequestURI())
	repl.Set("http.request.orig_uri.query", uri.RawQuery)
	prefixed := uri.RawQuery
	if prefixed != "" {
		prefixed = "?" + prefixed
	}
	repl.Set("http.request.orig_uri.prefixed_query", prefixed)
}

// WithoutLastEventID removes the parameter lastEventId from a query. The other parameters stay as they are.
func WithoutLastEventID(query string) string {
	parameters := slices.DeleteFunc(strings.Split(query, "&"), func(parameter string) bool {
		name, _, _ := strings.Cut(parameter, "=")
		name, err := url.QueryUnescape(name)
		return err == nil && name == lastEventIDParameter
	})
	return strings.Join(parameters, "&")
}
