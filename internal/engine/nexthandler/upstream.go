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

// nextUpstream is the next handler as an upstream that streams share. It is called once for all of them, with a request of the
// source's own. That request has the client's URL, but none of the client's headers.
type nextUpstream struct {
	config  *Server
	next    caddyhttp.Handler
	request *http.Request // copied for each connection
	body    []byte        // the body of each request, or of the only one
	vars    map[string]any
	server  *caddyhttp.Server
	key     string
}

// Upstream returns the next handler as an upstream that streams share. It uses only those parts of a client's request that identify
// the resource, not those that identify the client. All of these parts are in the key, because a client can set them to
// anything.
//
// If opens is true, the request's method opens the upstream. Then the next handler also gets the method, the body and the body's
// type. These are not in the key, which comes from the config in that case.
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
		original.URL = resource(r.URL) // a query that a rewrite has dropped must not make another key
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

// longestBody is the size of the longest body in a request that opens an upstream. The body is kept until the upstream has read it,
// because the client may leave.
const longestBody = 10 << 20

// resource returns the path and query of a URL, without lastEventId. In a request to a proxy, a URL also has a host.
func resource(u *url.URL) *url.URL {
	plain := url.URL{Path: u.Path, RawQuery: stream.WithoutLastEventID(u.RawQuery), ForceQuery: u.ForceQuery}
	if u.RawPath == u.EscapedPath() {
		plain.RawPath = u.RawPath
	}
	return &plain
}

// settings returns the vars of other handlers, such as root's. It leaves out those that Caddy sets itself, which are for this request
// only.
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

// nobody is the client's address in the source's own request. No host has this address, so that no handler takes the request for one
// from the server's own network.
const nobody = "0.0.0.0:0"

// Key returns the key of the upstream. It has the host and the URI, as the client sent it and as it was rewritten.
func (u *nextUpstream) Key() string { return u.key }

// Stream calls the next handler. It sends Last-Event-ID, as an EventSource would.
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
	var cut atomic.Bool // we have cut the response off, which the next handler takes for a clean end
	next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		defer func() { cut.Store(quiet.Err() != nil) }()
		return u.next.ServeHTTP(w, r)
	})
	err := askNext(next, w, r, func() bool { return true })
	if err == nil && cut.Load() {
		err = context.Canceled
	}
	if err == nil {
		w.WriteHeader(http.StatusOK) // as net/http does for a handler that writes nothing
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
			u.body = nil // there is only one request
		}
	}
	r = caddyhttp.PrepareRequest(r, repl, w, u.server)
	r = r.WithContext(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, original))
	maps.Copy(r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any), u.vars)
	// Routes in the same group as the handler's route must not match, as for a client's request.
	if groups, ok := r.Context().Value(routeGroups).(map[string]struct{}); ok {
		for _, name := range u.config.route.Groups {
			groups[name] = struct{}{}
		}
	}
	u.config.setAccept(r.Header)
	return r
}

// unread is the rest of a body. It releases the body after the end was read.
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

// routeGroups is Caddy's context key for the groups of routes that have matched. Caddy does not export it.
const routeGroups = caddy.CtxKey("route_group")

// withOwnGroups gives a request its own groups of matched routes. Otherwise Caddy would skip these routes when the next handler is
// called a second time.
func withOwnGroups(ctx context.Context) context.Context {
	groups, _ := ctx.Value(routeGroups).(map[string]struct{})
	return context.WithValue(ctx, routeGroups, maps.Clone(groups))
}

// noResponse is the response to a source's own request. It discards everything.
type noResponse struct{ header http.Header }

func (w noResponse) Header() http.Header       { return w.header }
func (noResponse) WriteHeader(int)             {}
func (noResponse) Write(p []byte) (int, error) { return len(p), nil }

// SourceKey returns a source's key, made from the key that clients share it by. Next handlers have no identity of their own. Two
// routes may have different next handlers for the same key, whether that comes from the config or from host and URI. So the
// route is part of the source's key. So are the vars, which the source's own request takes from the client's, even if the key
// comes from the config.
func (u *nextUpstream) SourceKey(key string) string {
	return backend.Key("next", u.config.route.Digest, keyOfSettings(u.vars), key)
}

// ReplacedBy reports whether the source must reconnect through newer at once. It must if newer comes from another config, whose next
// handler is another one. Several routes in one config may share a source.
func (u *nextUpstream) ReplacedBy(newer backend.Upstream) bool {
	return u.server != newer.(*nextUpstream).server
}

var _ backend.Upstream = (*nextUpstream)(nil)
