// Package http is the backend that requests records from an HTTP server.
package http

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
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/httpbody"
)

func init() {
	caddy.RegisterModule(new(Backend))
}

// Backend makes a request to an HTTP server, and reads records from the response. The response must have the status 200, and text as
// its content type, such as application/x-ndjson, text/event-stream or text/plain, or none. Any other response, even a redirect, is
// a failure of the upstream. URL, headers and body can have placeholders. {last_id} is the id of the last event.
type Backend struct {
	// The URL. After the host, the values of placeholders are escaped, so that each stays in its segment of the path, or in its
	// parameter of the query. {path}, {query} and {uri} are taken as path and query of the client's request. A client's value
	// in the host cannot leave the host.
	//
	// A unix socket is written instead of the host, with a colon after its path: http://unix//run/docker.sock:/events.
	URL string `json:"url"`

	// The request's method. Default: GET, or POST with a body.
	Method string `json:"method,omitempty"`

	// The request's headers. Default: an Accept header that prefers record formats, and Accept-Encoding: identity.
	Header http.Header `json:"header,omitempty"`

	// The request's body. Default: none.
	Body string `json:"body,omitempty"`

	// The transport for the connection to the server: one of reverse_proxy's. Default: http.
	TransportRaw json.RawMessage `json:"transport,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`

	transport       http.RoundTripper
	transportConfig string
	url             argument.List     // in three parts: the base up to the path, the path, the query
	socket          argument.Argument // the path of a unix socket, instead of the URL's host
	names           []string          // the names of the headers, one for each value
	values          argument.List
	body            argument.Argument
}

// transportNamespace is the namespace of reverse_proxy's transports.
const transportNamespace = "http.reverse_proxy.transport"

// The sizes of a read from the body, and of a connection's buffer. Go's default for a connection is 4 KiB, which takes a system call for
// every few records.
const (
	readSize   = 128 << 10
	bufferSize = 64 << 10
)

// CaddyModule returns the Caddy module information.
func (*Backend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: backend.Namespace + ".http", New: func() caddy.Module { return new(Backend) }}
}

// Provision compiles the options and loads the transport.
func (b *Backend) Provision(ctx caddy.Context) error {
	b.transportConfig = string(b.TransportRaw) // Caddy clears TransportRaw after loading the module
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

// adjustTransport gives Caddy's own transport a larger buffer, and makes it connect to a unix socket. The code in reverse_proxy for unix
// sockets is not exported.
func (b *Backend) adjustTransport() error {
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
		t.ReadBufferSize = bufferSize
	}
	if socket != "" {
		dial := t.DialContext
		t.Proxy = nil
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, "unix", socket) }
	}
	return nil
}

// asHeader is the place for a header's value, which must not have control characters other than the tab (RFC 9110 §5.5).
var asHeader = argument.Place{Refused: "\x01\x02\x03\x04\x05\x06\a\b\n\v\f\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f"}

// errHeaderName does not repeat the name, which may be a secret that was meant to be the value.
var errHeaderName = errors.New("header: the name has a character that no header's name may have: write header <name> <value>")

// Compile checks and compiles the options. A Caddyfile is parsed with it, so that its errors name the file and the line.
func (b *Backend) Compile() (err error) {
	if err := b.compileURL(); err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if t, ok := b.transport.(reverseproxy.TLSTransport); ok && t.TLSEnabled() && strings.HasPrefix(b.URL, "http://") {
		return errors.New("url: it begins with http://, but the transport speaks TLS: write https://")
	}
	b.Method = strings.ToUpper(b.Method)                            // as Caddy's rewrite does
	if b.Method != "" && !httpguts.ValidHeaderFieldName(b.Method) { // methods and names are tokens (RFC 9110 §9.1, §5.1)
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
func (b *Backend) Bind(r *http.Request) (backend.Upstream, error) {
	u := &upstream{backend: b}
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

// upstream is the request to make.
type upstream struct {
	backend *Backend
	server  *caddyhttp.Server
	url     argument.List
	values  argument.List
	body    argument.Argument
}

func (u *upstream) Key() string {
	b := u.backend
	return backend.Key("http", u.url.Key(), b.socket.Key(), b.Method, backend.Key(b.names...), u.values.Key(), u.body.Key(), b.transportConfig)
}

// Continues implements backend.Continuer.
func (u *upstream) Continues() bool {
	return u.url.UsesLastID() || u.values.UsesLastID() || u.body.UsesLastID()
}

func (u *upstream) Stream(ctx context.Context, lastID string, sink backend.Sink) error {
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
	err = backend.Copy(body, response.Body, readSize)
	if closeErr := body.Close(err == nil); err == nil {
		err = closeErr
	}
	return err
}

// newRequest makes the request. Its context has the values that reverse_proxy's transports expect.
func (u *upstream) newRequest(ctx context.Context, lastID string) (*http.Request, error) {
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
	if user := target.User; user != nil { // Go's client does this, but its transport does not
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

// roundTripError gives a timeout while connecting the status 504. Caddy's transport returns that timeout in an error that does not
// unwrap.
func roundTripError(err error) error {
	err = fmt.Errorf("asking the upstream: %w", err)
	var dialError reverseproxy.DialError
	if errors.As(err, &dialError) && strings.HasSuffix(dialError.Error(), os.ErrDeadlineExceeded.Error()) {
		return caddyhttp.Error(http.StatusGatewayTimeout, err)
	}
	return err
}

var (
	_ backend.Backend   = (*Backend)(nil)
	_ backend.Upstream  = (*upstream)(nil)
	_ caddy.Provisioner = (*Backend)(nil)
)
