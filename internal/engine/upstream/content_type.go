package upstream

import (
	"net/http"
	"strings"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/httpbody"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/accept"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// Converts reports whether a response of the next handler becomes an event stream.
func (c *Config) Converts(status int, header http.Header, asksForStream bool) bool {
	return c.WhyUnchanged(status, header, asksForStream) == ""
}

// WhyUnchanged returns the reason why a response of the next handler does not become an event stream, or "" if it does. A type that
// may be records or a document is converted only for a client that asks for a stream: JSON and text on a site are usually
// documents.
func (c *Config) WhyUnchanged(status int, header http.Header, asksForStream bool) string {
	switch status {
	case http.StatusNoContent, http.StatusResetContent, http.StatusPartialContent, http.StatusNotModified:
		return "a response of this status has no body, or not a whole one"
	}
	if status < 200 {
		return "the connection now speaks another protocol"
	}
	if c.Match != nil {
		if c.Match.Match(status, header) {
			return ""
		}
		return "match does not select it"
	}
	if status != http.StatusOK {
		return "its status is not 200: match can select it"
	}
	format, announced := records.ForContentType(httpbody.ContentType(header))
	switch {
	case format == records.EventStream && c.Format != records.EventStream:
		return "it is an event stream already: format event_stream converts it"
	case c.Format == records.EventStream && format.IsJSON():
		return "it is a JSON document, not an event stream" // MCP servers answer with either
	case format == records.EventStream, announced == records.AreRecords:
		return ""
	case announced != records.MaybeRecords:
		return "its content type is not one of records: match can select it"
	case asksForStream || c.Format != records.Auto:
		return ""
	default:
		return "its content type may be that of a document, and the client did not ask for text/event-stream by name: set a format"
	}
}

// NamesEventStream reports whether the client asks for text/event-stream by name, as EventSource does. fetch does not by default.
func NamesEventStream(r *http.Request) bool {
	return accept.Named(r.Header["Accept"], "text/event-stream") > 0
}

// IsPartOfRecords reports whether the response is a part of one that would be an event stream or become one. If it has several
// parts, or answers If-Range, its type may be unknown (RFC 9110 §15.3.7). Then the result is true.
func (c *Config) IsPartOfRecords(status int, header http.Header, asksForStream bool) bool {
	switch status {
	case http.StatusPartialContent, http.StatusIMUsed:
		switch mediaType(httpbody.ContentType(header)) {
		case "", "multipart/byteranges", "text/event-stream":
			return true
		}
		return c.Converts(http.StatusOK, header, asksForStream)
	default:
		return false
	}
}

// IsEventStream reports whether a response is an event stream already.
func IsEventStream(header http.Header) bool {
	return mediaType(httpbody.ContentType(header)) == "text/event-stream"
}

// mediaType returns a Content-Type without its parameters, in lower case.
func mediaType(contentType string) string {
	name, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(name))
}
