package nexthandler

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/httpbody"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

// request returns the client's request for the next handler. It removes headers that could lead to a response that cannot be
// converted, such as a part of the records.
func (c *Server) request(ctx context.Context, r *http.Request) *http.Request {
	expectsStream := c.expectsStream(r)
	r = withHeader(ctx, r)
	keepHopByHop(r.Header)
	c.setAccept(r.Header)
	switch {
	case expectsStream:
		deleteAll(r.Header, partialFields)
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			deleteAll(r.Header, conditionalFields) // with other methods, they protect against lost updates
		}
	case r.Method != http.MethodGet || hasBody(r):
		deleteAll(r.Header, partialFields) // they have no meaning (RFC 9110 §14.2), or the request could not be repeated without them
	}
	return r
}

// hasBody reports whether a GET request has a body. Over HTTP/3, an unknown length does not mean that there is one.
func hasBody(r *http.Request) bool {
	return r.ContentLength > 0 || r.ContentLength < 0 && r.ProtoMajor != 3
}

// setAccept sets the Accept headers of a request to the next handler. Accept-Encoding refuses compression: the records must be
// readable, and without the header, Go's transport would ask for gzip.
func (c *Server) setAccept(header http.Header) {
	header.Set("Accept-Encoding", "identity")
	header.Set("Accept", httpbody.AcceptRecords)
	if c.Config.Format == records.EventStream {
		header.Set("Accept", acceptEvents)
	}
}

// acceptEvents is the Accept header of a request for an event stream. MCP servers require both types. It has no weights, because
// some of these servers do not understand them. The preferred type comes first.
const acceptEvents = "text/event-stream, application/json"

// expectsStream reports whether the client or the config asks for a stream. Other requests may be for anything on the site, such as a
// video that a browser reads in parts.
func (c *Server) expectsStream(r *http.Request) bool {
	return c.Config.Format != records.Auto || upstream.NamesEventStream(r)
}

// partialFields ask for a part of the response, or for the changes to it (RFC 9110 §14.2, RFC 3229 §10.5.3).
var partialFields = []string{"Range", "If-Range", "A-Im"}

// conditionalFields ask for the response only if it has changed, or only if it has not (RFC 9110 §13.1). Streams have no validators.
var conditionalFields = []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"}

func deleteAll(header http.Header, names []string) {
	for _, name := range names {
		header.Del(name)
	}
}

// asksForPart reports whether the request asks for a part of the response.
func asksForPart(header http.Header) bool { return hasAny(header, partialFields) }

func hasAny(header http.Header, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return header[name] != nil })
}

// keepHopByHop protects the fields that are set here: a client could have them removed by naming them in Connection (RFC 9110
// §7.6.1). It also removes an offer to upgrade the connection to another version of HTTP, or to TLS: the client could then ask
// for the records without this handler. Clients that make this obsolete offer (RFC 9113 §3.1) also accept a response without an
// upgrade.
func keepHopByHop(header http.Header) {
	switchesHTTP := false
	for _, line := range header["Upgrade"] {
		for protocol := range strings.SplitSeq(line, ",") {
			name, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(protocol)), "/")
			switchesHTTP = switchesHTTP || name == "h2c" || name == "h2" || name == "http" || name == "tls"
		}
	}
	if switchesHTTP || !httpguts.HeaderValuesContainsToken(header["Connection"], "Upgrade") {
		header.Del("Upgrade")
	}
	var kept []string
	for _, line := range header["Connection"] {
		for token := range strings.SplitSeq(line, ",") {
			switch name := http.CanonicalHeaderKey(strings.TrimSpace(token)); name {
			case "", "Accept", "Accept-Encoding", "Last-Event-Id":
			case "Upgrade":
				if header["Upgrade"] != nil {
					kept = append(kept, "Upgrade")
				}
			default:
				kept = append(kept, name)
			}
		}
	}
	header.Del("Connection")
	if kept != nil {
		header.Set("Connection", strings.Join(kept, ", "))
	}
}
