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

// request is a client's request as the next handler gets it: without what would turn the records into something
// that cannot be converted.
func (c *Server) request(ctx context.Context, r *http.Request) *http.Request {
	expectsStream := c.expectsStream(r)
	r = withHeader(ctx, r)
	keepHopByHop(r.Header)
	c.setAccept(r.Header)
	switch {
	case expectsStream:
		deleteAll(r.Header, partialFields)
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			deleteAll(r.Header, conditionalFields) // of other methods they protect against lost updates
		}
	case r.Method != http.MethodGet || hasBody(r):
		deleteAll(r.Header, partialFields) // they mean nothing there (RFC 9110 §14.2), or the request cannot be repeated
	}
	return r
}

// hasBody reports whether a GET request has a body. On HTTP/3 that is not known unless it says so.
func hasBody(r *http.Request) bool {
	return r.ContentLength > 0 || r.ContentLength < 0 && r.ProtoMajor != 3
}

// setAccept sets the accept headers of a request to the next handler. Compressed records could not be told apart, and a
// request without Accept-Encoding would be given gzip by Go.
func (c *Server) setAccept(header http.Header) {
	header.Set("Accept-Encoding", "identity")
	header.Set("Accept", httpbody.AcceptRecords)
	if c.Config.Format == records.EventStream {
		header.Set("Accept", acceptEvents)
	}
}

// acceptEvents is the Accept header of a request for an event stream. The order alone says what is preferred: MCP servers
// want to see both types, and some of them read no weights.
const acceptEvents = "text/event-stream, application/json"

// expectsStream reports whether the client or the config says that the response is to be a stream. Other requests may be for
// anything on the site, such as a video that a browser reads in parts.
func (c *Server) expectsStream(r *http.Request) bool {
	return c.Config.Format != records.Auto || upstream.NamesEventStream(r)
}

// partialFields ask for a part of the response, or for what has changed of it (RFC 9110 §14.2, RFC 3229 §10.5.3).
var partialFields = []string{"Range", "If-Range", "A-Im"}

// conditionalFields ask for the response only if it has changed, or has not (RFC 9110 §13.1). Streams have no validators.
var conditionalFields = []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"}

func deleteAll(header http.Header, names []string) {
	for _, name := range names {
		header.Del(name)
	}
}

// asksForPart reports whether the response may be a part.
func asksForPart(header http.Header) bool { return hasAny(header, partialFields) }

func hasAny(header http.Header, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return header[name] != nil })
}

// keepHopByHop keeps a client from taking away, by naming them in Connection (RFC 9110 §7.6.1), the fields that are set
// here. And it takes away an offer to go on in another version of HTTP, or under TLS, on the same connection: the client
// could then ask for the records past this handler. Clients that make this obsolete offer (RFC 9113 §3.1) want a
// response all the same.
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
