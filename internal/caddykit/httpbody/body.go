// Package httpbody decodes the body of an upstream's HTTP response and writes it to a sink.
package httpbody

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/seed-4dedbcea/caddy-sse/backend"
)

// AcceptRecords is the Accept header of a request for records.
const AcceptRecords = "application/x-ndjson, application/jsonl, application/stream+json, application/json-seq;q=0.9, application/json;q=0.8, text/plain;q=0.7, text/event-stream;q=0.3, */*;q=0.1"

// Body is the body of a response. It decodes the bytes that are written to it, and writes them to the sink.
type Body struct {
	input backend.Input
	dec   *decoder // nil if the body is not compressed
}

// Open opens the sink for a response with these headers. It returns an error with the status 502 if the body's encoding cannot be
// decoded.
func Open(sink backend.Sink, header http.Header) (*Body, error) {
	open, err := decoding(header.Values("Content-Encoding"))
	if err != nil {
		return nil, caddyhttp.Error(http.StatusBadGateway, err)
	}
	input, err := sink.Open(ContentType(header))
	if err != nil {
		return nil, err
	}
	b := &Body{input: input}
	if open != nil {
		b.dec = newDecoder(open, input)
	}
	return b, nil
}

// Write writes bytes of the body. The sink has all of them when it returns.
func (b *Body) Write(p []byte) (int, error) {
	if b.dec != nil {
		return b.dec.Write(p)
	}
	return b.input.Write(p)
}

// Close ends the body. clean says whether the body is complete.
func (b *Body) Close(clean bool) error {
	if b.dec != nil {
		return b.dec.close(clean)
	}
	return nil
}

// ContentType returns the Content-Type of a response. If there are several, it returns the last one: reverse_proxy adds its
// upstream's to one that is there already, for example from a header directive.
func ContentType(header http.Header) string {
	if values := header["Content-Type"]; len(values) > 0 {
		return values[len(values)-1]
	}
	return ""
}

// IsEncoded reports whether a body with these headers has a content coding.
func IsEncoded(header http.Header) bool {
	open, err := decoding(header.Values("Content-Encoding"))
	return open != nil || err != nil
}
