// Package upstreamtest runs our own backends in tests, without the handler. Package backendtest checks the contract of all backends. This
// package is for the tests of one backend.
package upstreamtest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
)

// Backend returns the backend for a Caddyfile's text after "backend".
func Backend(t testing.TB, text string) backend.Backend {
	t.Helper()
	text = strings.ReplaceAll(text, "{query.", "{http.request.uri.query.") // as the parser of the sse directive does
	name, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	info, err := caddy.GetModule(backend.Namespace + "." + name)
	if err != nil {
		t.Fatal(err)
	}
	module := info.New()
	if err := module.(caddyfile.Unmarshaler).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	if p, ok := module.(caddy.Provisioner); ok {
		if err := p.Provision(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return module.(backend.Backend)
}

// Request returns a client's request that is prepared as in Caddy's server.
func Request(target string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), new(caddyhttp.Server))
}

// Upstream binds a backend to a request for /?query.
func Upstream(t testing.TB, text, query string) backend.Upstream {
	t.Helper()
	u, err := Backend(t, text).Bind(Request("/?" + query))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Status returns the status of the response to a failure before the first record, or 0 if err is nil.
func Status(err error) int {
	if err == nil {
		return 0
	}
	return failure.Status(err)
}
