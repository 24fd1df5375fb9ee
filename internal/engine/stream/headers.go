package stream

import (
	"net/http"
	"slices"
	"strings"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/accept"
	"golang.org/x/net/http/httpguts"
)

// SetHeaders sets the headers of an event stream in the coding that the client prefers, and returns the coding's name. An outer
// encode directive leaves a response that has a coding alone.
func (g *Group) SetHeaders(header http.Header, r *http.Request) (coding string) {
	SetHeaders(header)
	if len(g.Compress) == 0 {
		return accept.Identity
	}
	addVary(header, "Accept-Encoding")
	coding = accept.Coding(r.Header["Accept-Encoding"], g.Compress)
	if coding != accept.Identity {
		header.Set("Content-Encoding", coding)
	}
	return coding
}

// SetHeaders sets the headers of an event stream, and removes those that describe the upstream's bytes. It replaces values that the
// next handler has set.
func SetHeaders(header http.Header) {
	for _, name := range []string{
		"Content-Length", "Content-Encoding", "Content-Range", "Etag", "Last-Modified", "Accept-Ranges",
		"Content-Md5", "Digest", "Content-Digest", "Repr-Digest", "Unencoded-Digest",
		"Trailer",
	} {
		header.Del(name)
	}
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", cacheControl(header.Values("Cache-Control")))
	header.Set("X-Accel-Buffering", "no") // for nginx and others that know this header
	header.Set("Incremental", "?1")       // RFC 10036: intermediaries must not buffer
	AddVary(header)
}

// cacheControl returns no-cache, and the response's own directives that forbid something.
func cacheControl(values []string) string {
	directives := "no-cache"
	for _, name := range []string{"no-store", "private", "no-transform"} {
		if httpguts.HeaderValuesContainsToken(values, name) {
			directives += ", " + name
		}
	}
	return directives
}

// AddVary adds Accept to the Vary header.
func AddVary(header http.Header) { addVary(header, "Accept") }

func addVary(header http.Header, field string) {
	for _, line := range header["Vary"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name == "*" || strings.EqualFold(name, field) {
				return
			}
		}
	}
	header.Set("Vary", strings.Join(append(slices.Clone(header["Vary"]), field), ", "))
}
