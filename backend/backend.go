// Package backend is the interface between the sse handler and the sources of its records. Implement [Backend] to add
// a source of your own. The package needs the standard library alone.
//
// A backend fits in one file. It has these parts:
//
//   - A struct with the options, registered as a Caddy module in [Namespace]. In a Caddyfile, `backend clock` loads the
//     module Namespace + ".clock". In JSON, the module's name is the value of the key "name", beside its options.
//   - UnmarshalCaddyfile, which reads `backend clock 1s { … }`. The dispenser's first token is the backend's name.
//   - Bind, which expands the placeholders of a request and returns an [Upstream].
//   - Upstream.Stream, which connects, opens the [Sink], and writes the upstream's bytes to an [Input].
//
// The handler does the rest: it finds the records in the bytes, maps them to events, sends them to the clients, counts,
// logs failures, and calls Stream again if clients share the upstream and it has failed.
//
// docs/backends.md has a complete backend with its test. Package backendtest checks that a backend keeps its side of
// the contract.
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
	// Bind returns the upstream for a request. It expands the placeholders in the options, with the *caddy.Replacer
	// that r's context has under caddy.ReplacerCtxKey. It is called once for each request, concurrently. It opens
	// nothing, since many upstreams are never opened: those of HEAD requests, and of requests that join a shared one.
	//
	// Use r only until Bind returns. An upstream that clients share outlives the request that has opened it.
	//
	// An error becomes the response. A caddyhttp.HandlerError sets the status. Any other error is a 500.
	Bind(r *http.Request) (Upstream, error)
}

// AlwaysShared is implemented by a Backend that has exactly one upstream, such as a socket that senders push to. All
// streams of a handler share it, even if the config does not say `share`. It is open for as long as the config runs,
// with or without clients. Handlers and configs whose upstreams have equal keys share one opened upstream. Its Stream
// gets no id.
type AlwaysShared interface {
	Backend

	// Upstream returns the one upstream. Bind returns the same one for each request.
	Upstream() Upstream
}

// Upstream is a Backend that is bound to a request and ready to be opened.
type Upstream interface {
	// Key identifies the upstream. Requests whose upstreams have equal keys may share one connection, so the key holds
	// everything that decides which bytes arrive: the backend's name, the address, credentials, each expanded option.
	// Use [Key] to build it. Users see no more of it than a hash.
	Key() string

	// Stream opens the upstream and writes its bytes to the sink. It blocks until the upstream ends or fails, or until
	// ctx is canceled, which it must notice at once, even while it waits for the network. When it returns, it has ended
	// its goroutines and timers, has closed its connections, and does not use the sink again.
	//
	// The result says how the upstream has ended:
	//
	//   - nil: it has come to its end.
	//   - [ErrEnded]: it has come to its end, and Stream would never deliver anything again.
	//   - Any other error: it has failed. The handler logs the error.
	//
	// Once ctx is canceled, the result does not matter. If the sink or an input returns an error, nobody wants more
	// bytes: Stream returns that error.
	//
	// Without `share`, Stream is called once, and the stream ends with it. After a failure the client gets an sse-error
	// event or, before the first sink.Open, an error response: with the status of a caddyhttp.HandlerError, with 504
	// after a timeout, and otherwise with 502.
	//
	// With `share`, Stream is called again after a random wait, while the clients stay connected. It is not called again
	// after ErrEnded, nor after nil if the config has `end`. A call goes on when a new config takes over the clients, so
	// the Cleanup of a backend must leave alone what a running Stream uses.
	//
	// Calls on an upstream from one Bind never overlap. Those on upstreams from different Binds do.
	//
	// lastID is the id of the event after which to continue, or empty. Without `share` it is the client's Last-Event-ID.
	// A client can send any text, so trust it no more than the rest of a request. With `share` it is the last id that
	// the upstream or the config's `id` template has given. An upstream that cannot resume ignores lastID. One that can,
	// but does not know this id, calls [Input.Gap] and starts at its default place. If the upstream refuses the id,
	// return a caddyhttp.HandlerError with the status 400 or 410 before sink.Open: with `share`, Stream is then called
	// again without an id.
	//
	// The handler recovers a panic in Stream. It cannot recover one in a goroutine that Stream starts.
	Stream(ctx context.Context, lastID string, sink Sink) error
}

// Resumer is an Upstream that keeps old records itself and can resume from them, as a file can. If a client returns to a
// shared source with an id that the source's history no longer holds, and CanResume accepts the id, the client gets an
// upstream of its own.
type Resumer interface {
	Upstream

	// CanResume reports whether Stream could continue after lastID, which comes from a client and can be any text.
	CanResume(lastID string) bool
}

// ErrEnded is returned by Stream when the upstream has ended and will never deliver more, like standard input at its end.
// Return it as it is for a clean end. An error that wraps it is a failure after which Stream is not called again.
var ErrEnded = errors.New("upstream has ended for good")

// Sink receives an upstream's bytes. The handler implements it.
type Sink interface {
	// Open returns the input for the bytes of a connection. Call it as soon as the upstream has answered, even if it has
	// no bytes yet. Without `share`, the first Open starts the client's response.
	//
	// contentType is the Content-Type of the bytes, or empty. Unless the config has a `format`, it says how the bytes
	// become records: "" and text/plain are lines, application/x-ndjson is a JSON value on each line, and
	// text/event-stream is Server-Sent Events. Use the last for records that can hold a line feed, or that have ids or
	// event types of their own. Open returns an error for HTML. Unless the config has a `format`, it does so for other
	// types that are not text.
	//
	// Most upstreams call Open once in each Stream. One that several senders push to calls it for each sender. Inputs of
	// one sink may be used concurrently.
	Open(contentType string) (Input, error)
}

// Input turns the bytes of one connection, process, file or sender into records. Only one goroutine may use it at a
// time.
type Input interface {
	// Write takes bytes in chunks of any size. A chunk may begin or end anywhere in a record. The records that it
	// completes go to the clients at once, together: there is nothing to flush. Without `share`, Write blocks while the
	// client takes no more. Write does not keep p.
	io.Writer

	// End ends the record in progress, as a line feed would. A record that breaks off is dropped: clean is false then.
	// More bytes may follow. Call End where a message or sender ends without a line feed. You need not call it before
	// Stream returns: the handler sends the record in progress if the result is nil or exactly [ErrEnded], and otherwise
	// drops it.
	End(clean bool) error

	// SetOffset says that the next byte is at this offset in the upstream, such as a file, and gives the records ids, so
	// that clients can resume. From then on, appendID is called for each record, with the offset of the first byte after
	// the record. It appends the record's id to dst and returns the result. The id must have no line break. Write and End
	// call it before they return. The offset is not negative.
	SetOffset(offset int64, appendID func(dst []byte, offset int64) []byte)

	// Gap tells the clients, with an sse-gap event, that records were lost before the next byte.
	Gap() error
}

// Key joins parts into one key. Different parts always give different keys, as each part is preceded by its length.
func Key(parts ...string) string {
	var key []byte
	for _, part := range parts {
		key = strconv.AppendInt(key, int64(len(part)), 10)
		key = append(key, ':')
		key = append(key, part...)
	}
	return string(key)
}
