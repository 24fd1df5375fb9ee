package sse

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Parse says how to find the fields of a line. It works with the formats auto and lines.
type Parse struct {
	// The syntax of the lines: csv, regexp, logfmt, or syslog (RFC 5424 and RFC 3164).
	Syntax string `json:"syntax"`

	// For csv: the names of the columns, in order. The name - omits a column. A line with a different number of columns does
	// not fit.
	Columns []string `json:"columns,omitempty"`

	// For regexp: the regular expression, in RE2 syntax. Its named groups are the fields.
	Pattern string `json:"pattern,omitempty"`
}

// End is the event that tells a client that the stream has come to its end.
type End struct {
	// The event's type. Empty: the event has no type.
	Event string `json:"event"`

	// The event's data. Default: its type.
	Data *string `json:"data,omitempty"`

	// Whether a client that reconnects after this event gets 204, so that EventSource stays closed. Default: false.
	Stop bool `json:"stop,omitempty"`
}

// Error is the event that tells a client that the upstream has failed.
type Error struct {
	// The event's type. Empty: the event has no type.
	Event string `json:"event"`

	// The event's data. {reason} stands for the reason, such as upstream_error, and {status} for the status that the response
	// would have had, such as 502. Default: a JSON object with the reason.
	Data *string `json:"data,omitempty"`
}

// Recheck checks repeatedly whether a client may have its stream.
type Recheck struct {
	// The time between two checks of an open stream. Each check comes up to a fifth earlier or later, so that the checks of many
	// streams do not come together.
	Interval caddy.Duration `json:"interval"`

	// The routes for the check. They get the client's request, but without its body while the stream is open. A client whose
	// request they pass on may have its stream. If they answer the request instead, the client gets that answer, or an open
	// stream ends. An answer with a status of 500 or above does not end an open stream: the next check follows.
	Routes caddyhttp.RouteList `json:"routes"`
}

// Live is the event that tells a client that it has received the kept events.
type Live struct {
	// The event's type.
	Event string `json:"event"`

	// The event's data. Default: its type.
	Data *string `json:"data,omitempty"`
}

// Share says how clients share an upstream. A shared upstream and the events that are kept from it are called a source.
type Share struct {
	// Requests with the same key share an upstream. The key is text with placeholders. Default: the backend with its placeholders
	// expanded or, without a backend, the request's host and URI.
	Key string `json:"key,omitempty"`

	// The most events that are kept for clients that reconnect. Default: 256.
	History int `json:"history,omitempty"`

	// The largest size of the events that are kept, in bytes, up to 1 GiB. Default: 1048576 (1 MiB).
	HistorySize int64 `json:"history_size,omitempty"`

	// How many of the kept events a client without an id gets first. -1: all of them. Default: 0, so the client starts with
	// the next event.
	Replay int `json:"replay,omitempty"`

	// The event that a client gets after the kept events. Its id is that of the last event before it. Default: none.
	Live *Live `json:"live,omitempty"`

	// The methods of requests that may open an upstream. The first such request opens it. Unless that is a GET request, the
	// upstream is never opened again without a request: not after a failure, not after its end, and not by a reload. The next
	// handler gets the method and the body of that request, up to 10 MiB. A request with another method joins a source that is
	// open or kept, or gets 204. This option needs a backend or a key. Default: every request opens the upstream if there is
	// none.
	Open []string `json:"open,omitempty"`

	// The method of requests that end the source. Its clients get the end event. The request gets 204, or 404 if there is no
	// source. This option needs a backend or a key. Default: none.
	Stop string `json:"stop,omitempty"`

	// How long the upstream stays open after the last client has left. Negative: it is closed at once. Default: 10s.
	Linger caddy.Duration `json:"linger,omitempty"`

	// How long the events are kept after the upstream's end, for clients that reconnect for the rest. Negative: not at all.
	// Default: the same as linger.
	Keep caddy.Duration `json:"keep,omitempty"`

	// What happens to a client that falls behind the history: disconnect ends its stream, so that it reconnects and
	// resumes, and skip sends it an sse-gap event and continues with the events that are kept. Default: disconnect.
	Lag string `json:"lag,omitempty"`

	// Where the events are kept. Processes with the same store, key and backend are one source then: they have one upstream,
	// which one of them opens, and one history. An event reaches clients once the store has accepted it. A store is a module
	// of its own, and part of a build that names it. Default: the memory of this process.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=http.sse.stores inline_key=name"`
}
