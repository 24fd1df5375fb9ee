package sse

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
)

// Backend is a source of records: a Caddy module in the namespace http.sse.backends. It is what a config names;
// for each stream, or each source that streams share, it is bound to a request and becomes an Upstream. The next
// handler of the route reaches the stream as an Upstream, too.
//
// A backend of your own takes one file: a struct with its options, CaddyModule, UnmarshalCaddyfile, Bind, and an
// Upstream whose Stream copies bytes into the sink. Records, mapping, clients, reconnects and metrics are not its
// business.
type Backend interface {
	// Bind expands the request's placeholders and opens nothing yet. An error is the response:
	// a caddyhttp.HandlerError sets its status, any other is a 500.
	Bind(r *http.Request) (Upstream, error)
}

// AlwaysShared is what a Backend has whose upstream there is just one of, such as a socket that upstreams push to.
// Its streams share a source whether the config says `share` or not, and the source is open for as long as the
// config runs. Handlers that make records of it in different ways have sources of their own, which share the upstream.
type AlwaysShared interface {
	Backend

	// Upstream is the one that all streams share.
	Upstream() Upstream
}

// Upstream is a backend that is ready to be opened.
type Upstream interface {
	// Key tells upstreams apart: streams whose upstreams have the same key may share one. Build it with Key.
	Key() string

	// Stream opens the upstream and delivers what it says to the sink until the upstream ends (nil), fails
	// (an error), or ctx ends (whatever it returns then is ignored). lastID is the id of the last event that
	// was delivered, empty at first; an upstream that can resume does so there.
	//
	// A failure before sink.Open is the response: a caddyhttp.HandlerError sets its status, a timeout is a
	// 504, any other a 502. ErrEnded says that the upstream is over for good. Stream leaves no goroutine,
	// process, socket or timer behind. It is called again, never concurrently, for each reconnect.
	Stream(ctx context.Context, lastID string, sink Sink) error
}

// ErrEnded is what Stream returns when the upstream has ended and will never say anything again: there is no
// point in opening it anew. An error that wraps it is a failure besides.
var ErrEnded = errors.New("upstream has ended for good")

// endedCleanly is whether what Stream returned is no failure. An error that wraps ErrEnded is one, though for good.
func endedCleanly(err error) bool { return err == nil || err == ErrEnded }

// Sink takes what an upstream delivers.
type Sink interface {
	// Open says that the upstream is there and of which Content-Type its bytes are ("" where the upstream
	// does not say). The first Open starts the client's response. An upstream that many senders push to opens
	// an Input for each of them; Inputs of one sink may be written concurrently.
	Open(contentType string) (Input, error)
}

// Input takes the bytes of one connection, process, file or sender and makes records of them.
type Input interface {
	// Write takes bytes in any pieces. Records that are complete within p leave together. An error says that
	// nobody wants more: the upstream returns it from Stream.
	io.Writer

	// End says that the record in hand ends here. A record without its terminator counts if clean, and is
	// dropped otherwise. More may be written after it. When Stream returns, what is in hand ends cleanly if it
	// returned nil or ErrEnded.
	End(clean bool) error

	// At says that the next byte stands at offset within what generation names (which holds no line break).
	// From there on each record has an id of its own, "<generation>-<offset of its end>".
	At(generation string, offset int64)

	// Gap says that records were lost before the next byte.
	Gap() error
}

// Key joins parts into a key that no other parts give: each is preceded by its length.
func Key(parts ...string) string {
	var key []byte
	for _, part := range parts {
		key = strconv.AppendInt(key, int64(len(part)), 10)
		key = append(key, ':')
		key = append(key, part...)
	}
	return string(key)
}
