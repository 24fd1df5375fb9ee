// Package upstreamtest runs our own backends in tests, without the handler. backendtest is for the contract that every
// backend keeps; this is for what one of them does.
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

// Backend returns what the text of a Caddyfile after "backend" becomes.
func Backend(t testing.TB, text string) backend.Backend {
	t.Helper()
	text = strings.ReplaceAll(text, "{query.", "{http.request.uri.query.") // as the sse directive's parser does
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

// Request returns a client's request as Caddy's server hands it on.
func Request(target string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), new(caddyhttp.Server))
}

// Upstream binds a Backend to a request for /?query.
func Upstream(t testing.TB, text, query string) backend.Upstream {
	t.Helper()
	u, err := Backend(t, text).Bind(Request("/?" + query))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Status returns the status of the response that a failure before the first record becomes, or 0 if err is nil.
func Status(err error) int {
	if err == nil {
		return 0
	}
	return failure.Status(err)
}
