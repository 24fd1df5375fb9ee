package sse

import (
	"github.com/seed-4dedbcea/caddy-sse/backend"

	// The backends that come with the handler.
	_ "github.com/seed-4dedbcea/caddy-sse/modules/admin"
	_ "github.com/seed-4dedbcea/caddy-sse/modules/dial"
	_ "github.com/seed-4dedbcea/caddy-sse/modules/exec"
	_ "github.com/seed-4dedbcea/caddy-sse/modules/file"
	_ "github.com/seed-4dedbcea/caddy-sse/modules/http"
	_ "github.com/seed-4dedbcea/caddy-sse/modules/listen"
	_ "github.com/seed-4dedbcea/caddy-sse/modules/stdin"
)

// The interface that backends implement. It lies in a package of its own, which a backend in another module can import
// without the handler; these names are the same types.
type (
	// Backend is a source of records: a Caddy module in the namespace http.sse.backends.
	Backend = backend.Backend
	// AlwaysShared is implemented by a Backend that has exactly one upstream.
	AlwaysShared = backend.AlwaysShared
	// Upstream is a Backend bound to a request, ready to be opened.
	Upstream = backend.Upstream
	// Resumer is an Upstream that can itself continue after an event which a shared source no longer holds.
	Resumer = backend.Resumer
	// Sink receives an upstream's bytes.
	Sink = backend.Sink
	// Input turns the bytes of one connection, process, file or sender into records.
	Input = backend.Input
)

// ErrEnded is returned by Upstream.Stream when the upstream has ended for good.
var ErrEnded = backend.ErrEnded

// backendNamespace is where backends are registered.
const backendNamespace = backend.Namespace

// Key joins parts into a key that no other parts give.
func Key(parts ...string) string { return backend.Key(parts...) }
