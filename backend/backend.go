// Package backend is the interface between the sse handler and the sources of its records. Implement [Backend] to add
// a source of your own. The package needs the standard library alone.
//
// A backend fits in one file. These are its parts:
//
//   - A struct with the options, registered as a Caddy module in [Namespace]. In a Caddyfile, `backend clock` loads the
//     module Namespace + ".clock". In JSON, the module's name is the value of the key "name", beside its options.
//   - UnmarshalCaddyfile, which reads `backend clock 1s { … }`. The dispenser's first token is the backend's name.
//   - Bind, which expands the placeholders of a request and returns an [Upstream].
//   - Upstream.Stream, which connects, opens the [Sink], and writes the upstream's bytes to an [Input].
//
// The handler does the rest. It finds the records in the bytes, maps them to events and sends them to the clients. It keeps
// metrics and logs failures. If clients share an upstream that has failed, it calls Stream again.
//
// docs/backends.md has a complete backend with its test. Package backendtest checks that a backend fulfills this contract.
package backend

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
)

// Namespace is the Caddy module namespace of backends: `backend clock` loads the module Namespace + ".clock".
const Namespace = "http.sse.backends"

// Backend is a source of records, with the options that a config gives it. It is a Caddy module in [Namespace], so
// Caddy calls its Provision, Validate and Cleanup methods if it has them.
type Backend interface {
	// Bind returns the upstream for a request. It expands the placeholders in the options with the *caddy.Replacer
	// that r.Context() holds under caddy.ReplacerCtxKey. The handler calls Bind once for each request, from many
	// goroutines. Bind opens nothing, because many upstreams are never opened: those for HEAD requests, and those for
	// requests that join a shared upstream.
	//
	// Do not use r after Bind has returned. A shared upstream outlives the request that opened it.
	//
	// The handler answers an error with the status in a caddyhttp.HandlerError. The status for any other error is 500.
	Bind(r *http.Request) (Upstream, error)
}

// AlwaysShared is implemented by a Backend that has exactly one upstream, such as a socket that senders push to. All
// streams of a handler share the upstream, even without `share` in the config. The upstream is open for as long as the
// config runs, with or without clients. It is opened once for all handlers and configs whose upstreams have its key. The
// lastID of its Stream is always empty.
type AlwaysShared interface {
	Backend

	// Upstream returns the one upstream. Bind returns the same upstream for each request.
	Upstream() Upstream
}

// Upstream is a Backend that is bound to a request and ready to be opened.
type Upstream interface {
	// Key identifies the upstream. Requests whose upstreams have equal keys may share one connection. So the key must hold
	// everything that decides which bytes arrive: the backend's name, the address, credentials, each expanded option.
	// Build it with [Key]. The key may hold secrets: users see only a hash of it.
	Key() string

	// Stream opens the upstream and writes its bytes to the sink. It blocks until the upstream ends or fails, or until
	// ctx is canceled. It must notice the cancellation at once, even while it waits for the network. Before it returns,
	// it ends its goroutines and timers and closes its connections. After that, it must not use the sink.
	//
	// The result says how the upstream ended:
	//
	//   - nil: the upstream came to its end.
	//   - [ErrEnded]: the upstream came to its end, and another Stream would never deliver anything.
	//   - Any other error: the upstream failed. The handler logs the error.
	//
	// After ctx is canceled, the handler ignores the result. An error from the sink or an input means that nobody wants
	// more bytes: Stream returns that error.
	//
	// Without `share`, the handler calls Stream once, and the client's stream ends when Stream returns. After a failure,
	// the client gets an sse-error event. If Stream failed before the first sink.Open, the client gets an error response
	// instead. Its status is that of a caddyhttp.HandlerError, 504 after a timeout, and 502 otherwise.
	//
	// With `share`, the handler calls Stream again after a random wait, and the clients stay connected meanwhile. It does
	// not call Stream again after ErrEnded, nor after nil if the config has `end` or `end_when`. Nor does it if a request
	// with a method other than GET has opened the upstream, as the option `open` allows. A running Stream continues when a
	// new config takes over the clients. So Cleanup must not close anything that a running Stream uses.
	//
	// Calls on an upstream from one Bind never overlap. Calls on upstreams from different Binds do.
	//
	// lastID is the id of the event after which to continue, or empty. Without `share`, it is the client's Last-Event-ID.
	// A client can send any text, so do not trust it. With `share`, it is the last id from the upstream or from the
	// config's `id` template. An upstream that cannot resume ignores lastID. An upstream that can resume, but does not
	// know this id, calls [Input.Gap] and starts where it would start without an id. If the upstream rejects the id,
	// return a caddyhttp.HandlerError with the status 400 or 410 before sink.Open. With `share`, the handler then calls
	// Stream again without an id.
	//
	// The handler recovers a panic in Stream, but not a panic in a goroutine that Stream starts.
	Stream(ctx context.Context, lastID string, sink Sink) error
}

// Resumer is implemented by an Upstream that keeps old records and can resume from them, such as a file. It matters with
// `share`: a client may reconnect with an id that is no longer in the shared history. If CanResume accepts the id, the
// client gets an upstream of its own.
type Resumer interface {
	Upstream

	// CanResume reports whether Stream could continue after lastID. The id comes from a client and can be any text.
	CanResume(lastID string) bool
}

// Continuer is an Upstream that may go by the lastID of Stream. One process may open an upstream where another has left it,
// if they share a store. Where the upstream does not continue after that id, the clients get an sse-gap. For an Upstream
// that is no Continuer, they get it if the id is not the upstream's own.
type Continuer interface {
	Upstream

	// Continues reports whether Stream goes by lastID: an option has {last_id} in it, say.
	Continues() bool
}

// ErrEnded is returned by Stream when the upstream has ended and will never deliver more, like standard input at its end.
// For a clean end, return ErrEnded itself. An error that wraps ErrEnded is a failure after which the handler does not call
// Stream again.
var ErrEnded = errors.New("upstream has ended for good")

// Sink receives an upstream's bytes. The handler implements it.
type Sink interface {
	// Open returns the input for the bytes of one connection. Call it as soon as the upstream has answered, even if there
	// are no bytes yet. Without `share`, the first Open starts the client's response.
	//
	// contentType is the Content-Type of the bytes, or empty. It says how the bytes become records, unless the config has
	// a `format`: "" and text/plain are lines, application/x-ndjson is one JSON value on each line, and text/event-stream
	// is Server-Sent Events. Use text/event-stream for records that can hold a line feed, or that have ids or event types
	// of their own. Open returns an error for HTML. Unless the config has a `format`, it also returns an error for any
	// other type that is not text.
	//
	// Most upstreams call Open once in each Stream. An upstream that several senders push to calls it for each sender.
	// Different goroutines may use the inputs of one sink at the same time.
	Open(contentType string) (Input, error)
}

// Input turns the bytes of one connection, process, file or sender into records. Only one goroutine may use it at a
// time.
type Input interface {
	// Write takes bytes in chunks of any size. A chunk may begin or end anywhere in a record. The records that a chunk
	// completes are sent to the clients at once, together, so there is no Flush. Without `share`, Write blocks while the
	// client takes no more. Write does not keep p.
	io.Writer

	// End ends the record in progress. If clean is true, the record is sent, as after a line feed. If clean is false, it
	// broke off, and it is dropped. More bytes may follow. Call End where a message or a sender ends without a line feed.
	// Stream need not call it before it returns: the handler sends the record in progress if the result is nil or exactly
	// [ErrEnded], and otherwise drops it.
	End(clean bool) error

	// SetOffset says that the next byte is at this offset in the upstream, such as a file, and gives the records ids, so
	// that clients can resume. From then on, appendID is called for each record, with the offset of the first byte after
	// the record. It appends the record's id to dst and returns the result. The id must have no line break. Write and End
	// call it before they return. The offset is not negative.
	SetOffset(offset int64, appendID func(dst []byte, offset int64) []byte)

	// Gap tells the clients, with an sse-gap event, that records were lost before the next byte.
	Gap() error
}

// Key joins parts into one key. Different parts always give different keys, because the key holds the length of each part.
func Key(parts ...string) string {
	var key []byte
	for _, part := range parts {
		key = strconv.AppendInt(key, int64(len(part)), 10)
		key = append(key, ':')
		key = append(key, part...)
	}
	return string(key)
}
