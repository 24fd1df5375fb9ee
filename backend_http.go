package sse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/httpbody"
)

func init() {
	caddy.RegisterModule(new(HTTPBackend))
}

// HTTPBackend asks an HTTP server for a response of records: one of status 200 whose content type is of records,
// text/event-stream, text/plain or none. Any other response, a redirect too, is a failure of the upstream. URL,
// headers and body are expanded for each request; {last_id} is the id of the last event.
type HTTPBackend struct {
	// The URL. Values of placeholders after the host are escaped, so that each stays a part of the path or of the
	// query that it was written in; {path}, {query} and {uri} are what they are in the client's request. What a
	// client supplies to the host cannot leave the host.
	//
	// A unix socket stands in place of the host, with a colon after it: http://unix//run/docker.sock:/events.
	URL string `json:"url"`

	// The request's method. Default: GET, or POST if there is a body.
	Method string `json:"method,omitempty"`

	// Headers of the request. Default: an Accept that prefers record formats, and Accept-Encoding: identity.
	Header http.Header `json:"header,omitempty"`

	// The request's body. Default: none.
	Body string `json:"body,omitempty"`

	// How the server is spoken to: one of reverse_proxy's transports. Default: http.
	TransportRaw json.RawMessage `json:"transport,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`

	transport       http.RoundTripper
	transportConfig string
	url             argument.List     // up to the path, path, and query
	socket          argument.Argument // instead of the URL's host
	names           []string          // of headers, one for each value
	values          argument.List
	body            argument.Argument
}

// transportNamespace is where reverse_proxy's transports are registered.
const transportNamespace = "http.reverse_proxy.transport"

// Sizes of what is read at once. Go's own default for a connection is 4 KiB, a system call for each few records.
const (
	httpReadSize   = 128 << 10
	httpBufferSize = 64 << 10
)

// CaddyModule returns the Caddy module information.
func (*HTTPBackend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: backendNamespace + ".http", New: func() caddy.Module { return new(HTTPBackend) }}
}

// Provision compiles the options and loads the transport.
func (b *HTTPBackend) Provision(ctx caddy.Context) error {
	b.transportConfig = string(b.TransportRaw) // which Caddy forgets when it has loaded it
	var module any
	var err error
	if b.TransportRaw == nil {
		module, err = ctx.LoadModuleByID(transportNamespace+".http", nil)
	} else {
		module, err = ctx.LoadModule(b, "TransportRaw")
	}
	if err != nil {
		return fmt.Errorf("loading transport: %w", err)
	}
	b.transport = module.(http.RoundTripper)
	if err := b.Compile(); err != nil {
		return err
	}
	return b.adjustTransport()
}

// adjustTransport gives Caddy's own transport a larger buffer, and leads it to a unix socket. What reverse_proxy
// does about the latter is closed to others.
func (b *HTTPBackend) adjustTransport() error {
	socket, err := b.socket.Expand("")
	if err != nil {
		return err
	}
	module, ok := b.transport.(*reverseproxy.HTTPTransport)
	if !ok {
		if socket != "" {
			return errors.New("url: only transport http can speak to a unix socket")
		}
		return nil
	}
	t := module.Transport
	if t.ReadBufferSize == 0 {
		t.ReadBufferSize = httpBufferSize
	}
	if socket != "" {
		dial := t.DialContext
		t.Proxy = nil
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, "unix", socket) }
	}
	return nil
}

// asHeader is a header's value, which has no control characters but the tab (RFC 9110 §5.5).
var asHeader = argument.Place{Refused: "\x01\x02\x03\x04\x05\x06\a\b\n\v\f\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f"}

// errHeaderName repeats nothing, as it may be a secret that should have been the value.
var errHeaderName = errors.New("header: the name has a character that no header's name may have: write header <name> <value>")

func (b *HTTPBackend) Compile() (err error) {
	if err := b.compileURL(); err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if t, ok := b.transport.(reverseproxy.TLSTransport); ok && t.TLSEnabled() && strings.HasPrefix(b.URL, "http://") {
		return errors.New("url: it begins with http://, but the transport speaks TLS: write https://")
	}
	b.Method = strings.ToUpper(b.Method)                            // as rewrites do
	if b.Method != "" && !httpguts.ValidHeaderFieldName(b.Method) { // both are tokens (RFC 9110 §9.1, §5.1)
		return fmt.Errorf("method: %q is not a method", b.Method)
	}
	b.names, b.values = nil, nil
	for _, name := range slices.Sorted(maps.Keys(b.Header)) {
		if !httpguts.ValidHeaderFieldName(name) {
			return errHeaderName
		}
		for _, text := range b.Header[name] {
			if !httpguts.ValidHeaderFieldValue(text) {
				return fmt.Errorf("header %s: its value must have no control characters", name)
			}
			value, err := argument.Parse(text, asHeader)
			if err != nil {
				return fmt.Errorf("header %s: %w", name, err)
			}
			b.names, b.values = append(b.names, name), append(b.values, value)
		}
	}
	if b.body, err = argument.Parse(b.Body, argument.Text); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	return nil
}

// Bind expands the request's placeholders.
func (b *HTTPBackend) Bind(r *http.Request) (Upstream, error) {
	u := &httpUpstream{backend: b}
	u.server, _ = r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if u.server == nil {
		u.server = new(caddyhttp.Server)
	}
	var err error
	if u.url, err = b.url.Bind(r); err != nil {
		return nil, err
	}
	if u.values, err = b.values.Bind(r); err != nil {
		return nil, err
	}
	u.body, err = b.body.Bind(r)
	return u, err
}

// httpUpstream is a request to be made.
type httpUpstream struct {
	backend *HTTPBackend
	server  *caddyhttp.Server
	url     argument.List
	values  argument.List
	body    argument.Argument
}

func (u *httpUpstream) Key() string {
	b := u.backend
	return Key("http", u.url.Key(), b.socket.Key(), b.Method, Key(b.names...), u.values.Key(), u.body.Key(), b.transportConfig)
}

func (u *httpUpstream) Stream(ctx context.Context, lastID string, sink Sink) error {
	request, err := u.newRequest(ctx, lastID)
	if err != nil {
		return err
	}
	response, err := u.backend.transport.RoundTrip(request)
	if err != nil {
		return roundTripError(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return caddyhttp.Error(http.StatusBadGateway, fmt.Errorf("upstream answered with %w, not with records", failure.BadStatus(response.StatusCode)))
	}
	body, err := httpbody.Open(sink, response.Header)
	if err != nil {
		return err
	}
	err = backend.Copy(body, response.Body, httpReadSize)
	if closeErr := body.Close(err == nil); err == nil {
		err = closeErr
	}
	return err
}

// newRequest makes a request in a context that transports made for reverse_proxy find what they want in.
func (u *httpUpstream) newRequest(ctx context.Context, lastID string) (*http.Request, error) {
	parts, err := u.url.Expand(lastID)
	if err != nil {
		return nil, err
	}
	target, err := u.backend.parseURL(parts)
	if err != nil {
		return nil, err
	}
	if !u.backend.url[1].IsFixed() && hasDotSegment(target.Path) {
		return nil, caddyhttp.Error(http.StatusBadRequest, errors.New("a value in the path leads outside of it"))
	}
	values, err := u.values.Expand(lastID)
	if err != nil {
		return nil, err
	}
	text, err := u.body.Expand(lastID)
	if err != nil {
		return nil, err
	}
	method := u.backend.Method
	if method == "" && text != "" {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(ctx, method, "", strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	r.URL, r.Host = target, target.Host
	r.RemoteAddr = "127.0.0.1:0" // the request is the server's own, not a client's
	r.Header.Set("Accept", httpbody.AcceptRecords)
	r.Header.Set("Accept-Encoding", "identity")
	if user := target.User; user != nil { // which Go's client does, but no transport
		password, _ := user.Password()
		r.SetBasicAuth(user.Username(), password)
	}
	for _, name := range u.backend.names {
		r.Header.Del(name)
	}
	for i, name := range u.backend.names {
		if strings.EqualFold(name, "Host") {
			r.Host = values[i]
			continue
		}
		r.Header.Add(name, values[i])
	}
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, u.server), nil
}

// roundTripError tells a connection that timed out from others. Caddy's transport hides what kind of error it had
// in an error that does not unwrap.
func roundTripError(err error) error {
	err = fmt.Errorf("asking the upstream: %w", err)
	var dialError reverseproxy.DialError
	if errors.As(err, &dialError) && strings.HasSuffix(dialError.Error(), os.ErrDeadlineExceeded.Error()) {
		return caddyhttp.Error(http.StatusGatewayTimeout, err)
	}
	return err
}

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	backend http <url> {
//	    method    <method>
//	    header    <name> <value>
//	    body      <text>
//	    transport <name> { ... }
//	}
func (b *HTTPBackend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume backend name
	var err error
	if b.URL, err = directive.OneArg(d); err != nil {
		return d.Err("backend http must be followed by one URL, in quotes if it has spaces") // and not repeat a part of it
	}
	if err := directive.Compiled(d, b.Compile); err != nil {
		return err
	}
	seen := make(directive.Seen)
	for d.NextBlock(0) {
		if d.Val() != "header" {
			if err := seen.Add(d); err != nil {
				return err
			}
		}
		switch d.Val() {
		case "method":
			b.Method, err = directive.OneArg(d)
		case "header":
			err = b.parseHeader(d)
		case "body":
			b.Body, err = directive.OneArg(d)
		case "transport":
			err = b.parseTransport(d)
		default:
			err = d.Errf("unrecognized subdirective %q of backend http", d.Val())
		}
		if err == nil {
			err = directive.Compiled(d, b.Compile)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *HTTPBackend) parseHeader(d *caddyfile.Dispenser) error {
	given, err := directive.Args(d, 2, 2)
	if err != nil {
		return d.Err("header must be followed by a name and one value, in quotes if it has spaces") // and not repeat a part of it
	}
	if b.Header == nil {
		b.Header = make(http.Header)
	}
	b.Header.Add(given[0], given[1])
	return nil
}

// parseTransport takes the transport's name; its module takes the rest.
func (b *HTTPBackend) parseTransport(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, transportNamespace+"."+name)
	if err != nil {
		return err
	}
	transport, ok := module.(http.RoundTripper)
	if !ok {
		return d.Errf("module %s.%s is not a transport, but a %T", transportNamespace, name, module)
	}
	b.transport, b.TransportRaw = transport, caddyconfig.JSONModuleObject(module, "protocol", name, nil)
	return nil
}

var (
	_ Backend               = (*HTTPBackend)(nil)
	_ Upstream              = (*httpUpstream)(nil)
	_ caddy.Provisioner     = (*HTTPBackend)(nil)
	_ caddyfile.Unmarshaler = (*HTTPBackend)(nil)
)
