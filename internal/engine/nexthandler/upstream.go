package nexthandler

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
)

// nextUpstream is the next handler of a route as an upstream that streams share: it is asked once for all of them,
// by a request of the source's own that has the URL, but none of a client's headers.
type nextUpstream struct {
	config  *Server
	next    caddyhttp.Handler
	request *http.Request // to be copied for each connection
	body    []byte        // of each of them, or of the only one
	vars    map[string]any
	server  *caddyhttp.Server
	key     string
}

// Upstream returns the next handler as an upstream that streams share. It takes from a client's request what tells
// resources apart, and nothing that tells clients apart. All that it takes is part of the key, as any of it may be what
// the client has made it.
//
// If the request opens an upstream by its method, the next handler gets that method, the body, and the body's type, too. The
// key is the config's then, and does not have them.
func (c *Server) Upstream(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, opens bool) (backend.Upstream, error) {
	original := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	server := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	host := strings.ToLower(r.Host)
	request := &http.Request{
		Method: http.MethodGet, URL: resource(r.URL), Host: host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: make(http.Header),
		RemoteAddr: nobody,
	}
	var body []byte
	if opens && r.Method != http.MethodHead {
		var err error
		if body, err = c.Streams.ReadBody(w, r, longestBody); err != nil {
			return nil, err
		}
		request.Method = r.Method
		for _, name := range []string{"Content-Type", "Content-Encoding"} {
			if values := r.Header[name]; values != nil {
				request.Header[name] = slices.Clone(values)
			}
		}
	}
	original.Method, original.URL, original.RemoteAddr = request.Method, resource(original.URL), request.RemoteAddr
	if !c.route.ReadsOriginal {
		original.URL = resource(r.URL) // a query that a rewrite has dropped widens no key
	}
	original.RequestURI = original.URL.RequestURI()
	request.RequestURI = original.RequestURI
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
		name := host
		if withoutPort, _, err := net.SplitHostPort(host); err == nil {
			name = withoutPort
		}
		request.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, ServerName: name}
	}
	ctx := context.WithValue(context.Background(), caddyhttp.ServerCtxKey, server)
	ctx = context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, original)
	var vars map[string]any
	if c.route.ReadsVars {
		vars = settings(r)
	}
	return &nextUpstream{
		config: c, next: next, request: request.WithContext(ctx), body: body, vars: vars, server: server,
		key: backend.Key(scheme, host, original.RequestURI, r.URL.RequestURI(), keyOfSettings(vars)),
	}, nil
}

// longestBody is the most bytes that the body of a request which opens an upstream may have. It is kept until the upstream has
// read it, as the client may leave.
const longestBody = 10 << 20

// resource returns the part of a URL that names a resource. A request to a proxy also has a host in its URL.
func resource(u *url.URL) *url.URL {
	plain := url.URL{Path: u.Path, RawQuery: stream.WithoutLastEventID(u.RawQuery), ForceQuery: u.ForceQuery}
	if u.RawPath == u.EscapedPath() {
		plain.RawPath = u.RawPath
	}
	return &plain
}

// settings are other handlers' vars, such as root's. Of those that Caddy sets itself, none is for another request.
func settings(r *http.Request) map[string]any {
	vars := make(map[string]any)
	for name, value := range r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any) {
		switch name {
		case caddyhttp.ClientIPVarKey, caddyhttp.TrustedProxyVarKey, "trace_id", "span_id":
			continue
		}
		switch value.(type) {
		case string, bool, int, int64, float64, json.Number:
			vars[name] = value
		}
	}
	return vars
}

func keyOfSettings(vars map[string]any) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		parts = append(parts, name, fmt.Sprintf("%T %[1]v", vars[name]))
	}
	return backend.Key(parts...)
}

// nobody is the client's address in the source's own request. It is that of no host, so that no handler takes the
// request for one of the server's own network.
const nobody = "0.0.0.0:0"

// Key is the request's host and URI, as the client sent it and as the next handler sees it.
func (u *nextUpstream) Key() string { return u.key }

// Stream asks the next handler. As an EventSource would, it says which event of the upstream's it saw last.
func (u *nextUpstream) Stream(ctx context.Context, lastID string, sink backend.Sink) error {
	quiet, cancel := quietContext(ctx, func() bool { return true })
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()

	w := &responseWriter{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: noResponse{make(http.Header)}},
		upstream:              u.config.Config, sink: sink, refuse: cancel,
	}
	r := u.newRequest(quiet, w)
	if lastID != "" {
		if !httpguts.ValidHeaderFieldValue(lastID) {
			return caddyhttp.Error(http.StatusBadRequest, errors.New("last event id cannot stand in a header"))
		}
		r.Header.Set("Last-Event-ID", lastID)
	}
	var cut atomic.Bool // a response that is cut off looks like an upstream's clean end
	next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		defer func() { cut.Store(quiet.Err() != nil) }()
		return u.next.ServeHTTP(w, r)
	})
	err := askNext(next, w, r, func() bool { return true })
	if err == nil && cut.Load() {
		err = context.Canceled
	}
	if err == nil {
		w.WriteHeader(http.StatusOK) // as net/http does for a handler that says nothing
	}
	return w.ended(err)
}

func (u *nextUpstream) newRequest(ctx context.Context, w http.ResponseWriter) *http.Request {
	original := u.request.Context().Value(caddyhttp.OriginalRequestCtxKey)
	repl := caddy.NewReplacer()
	r := withHeader(ctx, u.request)
	url := *r.URL // handlers rewrite it in place
	r.URL = &url
	if u.body != nil {
		r.Body, r.ContentLength = io.NopCloser(&unread{u.body}), int64(len(u.body))
		if r.Method != http.MethodGet {
			u.body = nil // it is asked once
		}
	}
	r = caddyhttp.PrepareRequest(r, repl, w, u.server)
	r = r.WithContext(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, original))
	maps.Copy(r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any), u.vars)
	// Routes that exclude the one that the handler is in are no more behind it than for a client's request.
	if groups, ok := r.Context().Value(routeGroups).(map[string]struct{}); ok {
		for _, name := range u.config.route.Groups {
			groups[name] = struct{}{}
		}
	}
	u.config.setAccept(r.Header)
	return r
}

// unread is the rest of a body. Once that is read, nothing of it is kept.
type unread struct{ rest []byte }

func (u *unread) Read(p []byte) (int, error) {
	if len(u.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, u.rest)
	if u.rest = u.rest[n:]; len(u.rest) == 0 {
		u.rest = nil
	}
	return n, nil
}

// routeGroups is Caddy's own key, which it does not export.
const routeGroups = caddy.CtxKey("route_group")

// withOwnGroups is for a next handler that may be asked again: Caddy notes there which routes have matched, and would skip
// them all the second time.
func withOwnGroups(ctx context.Context) context.Context {
	groups, _ := ctx.Value(routeGroups).(map[string]struct{})
	return context.WithValue(ctx, routeGroups, maps.Clone(groups))
}

// noResponse is the response of a source's own request: it goes nowhere.
type noResponse struct{ header http.Header }

func (w noResponse) Header() http.Header       { return w.header }
func (noResponse) WriteHeader(int)             {}
func (noResponse) Write(p []byte) (int, error) { return len(p), nil }

// SourceKey makes a source's key from the key by which clients share it. Next handlers have no identity of their own.
// Two routes may ask different ones for the same key, be it the user's or, where matchers decide, that of host and URI;
// so the handler's route is part of it. So is all that the source's own request takes from a client's, even if the key is
// the user's: vars, that is.
func (u *nextUpstream) SourceKey(key string) string {
	return backend.Key("next", u.config.route.Digest, keyOfSettings(u.vars), key)
}

// ReplacedBy reports whether a new config's upstream is to be asked at once. Routes of one config may share a source; only
// another config's next handler is another one.
func (u *nextUpstream) ReplacedBy(newer backend.Upstream) bool {
	return u.server != newer.(*nextUpstream).server
}

var _ backend.Upstream = (*nextUpstream)(nil)
