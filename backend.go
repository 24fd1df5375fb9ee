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

// The interface of backends. It is package backend, which a backend in another Go module can import without the handler.
type (
	// Backend is a source of records: a Caddy module in the namespace http.sse.backends. Package backend documents the
	// contract.
	Backend = backend.Backend
	// AlwaysShared is implemented by a Backend that has exactly one upstream, such as a socket that senders push to.
	AlwaysShared = backend.AlwaysShared
	// Upstream is a Backend that is bound to a request and ready to be opened.
	Upstream = backend.Upstream
	// Resumer is implemented by an Upstream that keeps old records and can resume from them, such as a file.
	Resumer = backend.Resumer
	// Sink receives an upstream's bytes.
	Sink = backend.Sink
	// Input turns the bytes of one connection, process, file or sender into records.
	Input = backend.Input
)

// ErrEnded is returned by Upstream.Stream when the upstream has ended and will never deliver more.
var ErrEnded = backend.ErrEnded

// backendNamespace is the Caddy module namespace of backends.
const backendNamespace = backend.Namespace

// Key joins parts into one key, for Upstream.Key. Different parts always give different keys.
func Key(parts ...string) string { return backend.Key(parts...) }
