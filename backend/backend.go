// Package backend is the interface between the sse handler and the sources of its records. Implement [Backend] to add
// a source of your own; the standard library is all that this package needs.
//
// A backend takes one file: a struct with its options, CaddyModule, UnmarshalCaddyfile, Bind, and an Upstream whose
// Stream copies bytes into the sink. Records, mapping, clients, reconnects and metrics are the handler's business.
// Package backendtest checks that an implementation keeps its side of the contract.
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

// Backend is a source of records, as a config names it. It is a Caddy module in [Namespace].
type Backend interface {
	// Bind expands the request's placeholders and returns an Upstream that is not open yet. It is called once for
	// each request, concurrently. An error becomes the response: a caddyhttp.HandlerError sets its status, any other
	// error is a 500.
	Bind(r *http.Request) (Upstream, error)
}

// AlwaysShared is implemented by a Backend that has exactly one upstream, such as a socket that senders push to. All
// its streams share a source, whether the config says `share` or not. The source is open for as long as the config
// runs. Handlers that frame the bytes differently have sources of their own, which share the upstream.
type AlwaysShared interface {
	Backend

	// Upstream returns the one upstream. It is the same for all requests.
	Upstream() Upstream
}

// Upstream is a Backend bound to a request, ready to be opened.
type Upstream interface {
	// Key identifies the upstream: streams whose upstreams have equal keys may share one. Build it with [Key], of
	// everything that decides which bytes arrive.
	Key() string

	// Stream opens the upstream and delivers its bytes to the sink. It returns nil when the upstream has ended, an
	// error when it has failed, and anything once ctx has ended, which it must notice at once. When it returns, it
	// has left no goroutine, process, socket or timer behind, and does not touch the sink again.
	//
	// lastID is the id of the last event that was delivered, empty at first. An upstream that can resume continues
	// after it; any other ignores it.
	//
	// A failure before the first sink.Open is the response: a caddyhttp.HandlerError sets its status, a timeout is a
	// 504, any other error a 502. A later failure reaches the client as an error event. [ErrEnded] says that the
	// upstream has ended and that opening it again is pointless.
	//
	// Stream is called again for each reconnect, but never concurrently with itself. An error from the sink or its
	// inputs says that nobody wants more: Stream returns it.
	Stream(ctx context.Context, lastID string, sink Sink) error
}

// Resumer is an Upstream that can itself continue after an event which the history of a shared source no longer holds. A
// client that returns with the id of such an event gets an upstream of its own.
type Resumer interface {
	Upstream

	// CanResume reports whether Stream could continue after lastID.
	CanResume(lastID string) bool
}

// ErrEnded is returned by Stream when the upstream has ended for good: it will never deliver anything again. An error
// that wraps ErrEnded is a failure besides.
var ErrEnded = errors.New("upstream has ended for good")

// Sink receives an upstream's bytes.
type Sink interface {
	// Open says that the upstream has answered, and gives the Content-Type of its bytes ("" if it names none). The
	// first Open starts the clients' responses. Most upstreams call it once for each Stream; one that many senders
	// push to calls it for each sender. Inputs of one sink may be used concurrently with each other.
	Open(contentType string) (Input, error)
}

// Input turns the bytes of one connection, process, file or sender into records. One goroutine uses it at a time.
type Input interface {
	// Write takes bytes in chunks of any size. A chunk may end within a record. Records that are complete within p
	// leave for the client together. p is not kept after Write has returned.
	io.Writer

	// End ends the record in progress, which counts if clean is true and is dropped otherwise. More may be written
	// after it. Stream need not call it before it returns: a record in progress counts if Stream returns nil or
	// exactly ErrEnded.
	End(clean bool) error

	// At says that the next byte stands at offset within something that can be resumed there, such as a file. From
	// there on, appendID appends the id of each record, which ends at the offset that it is given. It is called within
	// Write and End, and must append no line break.
	At(appendID func(dst []byte, offset int64) []byte, offset int64)

	// Gap says that records were lost before the next byte. The clients are told.
	Gap() error
}

// Key joins parts into a key that no other parts give: each part is preceded by its length.
func Key(parts ...string) string {
	var key []byte
	for _, part := range parts {
		key = strconv.AppendInt(key, int64(len(part)), 10)
		key = append(key, ':')
		key = append(key, part...)
	}
	return string(key)
}
