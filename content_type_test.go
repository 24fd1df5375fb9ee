package sse_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// A page that fetches JSON, and who reads robots.txt, does not ask for a stream.
func TestContentTypesThatAreConverted(t *testing.T) {
	ssetest.NoLeaks(t)
	next := nextHandler(t, func(w http.ResponseWriter, r *http.Request) { saying(r.URL.Query().Get("type"), "1\n")(w, r) })
	const always, ifAskedFor, never = "always", "if asked for", "never"
	config := func(options string) string { return site(options, next) }
	server := ssetest.Start(t, config(""))
	for _, test := range []struct {
		options string
		types   map[string]string
	}{
		{"", map[string]string{
			"Application/X-NDJSON": always, "application/ndjson": always, "application/jsonl": always, "application/x-jsonlines": always,
			"application/jsonlines": always, "application/stream+json": always, "application/json-seq": always, "application/geo+json-seq": always,
			"application/json;stream=watch": always, "application/json; charset=utf-8; Stream=Watch": always,
			"application/json": ifAskedFor, "application/ld+json": ifAskedFor, "text/plain": ifAskedFor, "text/plain; charset=utf-8": ifAskedFor, "": ifAskedFor,
			"text/html": never, "text/csv": never, "application/octet-stream": never, "application/jsonp": never, "application/javascript": never, "text/event-stream": never,
		}},
		{"format ndjson", map[string]string{"application/json": always, "text/plain": always, "": always, "text/html": never, "text/event-stream": never}},
		{"format event_stream", map[string]string{"text/plain": always, "application/json": never, "text/html": never}},
	} {
		server.Reload(config(test.options))
		for contentType, when := range test.types {
			for accept, converted := range map[string]bool{
				"": when == always, "*/*": when == always, "application/json, text/*": when == always, "text/event-stream": when != never, "text/event-stream;q=0, */*": false,
			} {
				r, _ := http.NewRequest("GET", server.URL("h1", "/?type="+url.QueryEscape(contentType)), nil)
				if accept != "" {
					r.Header.Set("Accept", accept)
				}
				if accept == "text/event-stream;q=0, */*" {
					r.Method = "POST" // of which accept asks nothing
					converted = when == always
				}
				s := ssetest.Do(t, ssetest.Client(t, "h1"), r)
				text := wholeBody(t, s)
				if isConverted := text != "1\n"; isConverted != converted || !converted && s.Header.Get("Content-Type") != contentType {
					t.Errorf("%q, %q, Accept %q: got %q as %q", test.options, contentType, accept, text, s.Header.Get("Content-Type"))
				}
			}
		}
	}
}

// OpenAI's, Anthropic's and Ollama's SDKs send Accept: application/json, and read the stream that they have asked for in
// the body.
func TestAcceptStandardLooksAtNoPOST(t *testing.T) {
	ssetest.NoLeaks(t)
	next := nextHandler(t, saying(ndjson, "1\n"))
	server := ssetest.Start(t, site("", next))
	for mode, want := range map[string]int{"standard": 200, "strict": 406, "negotiate": 200, "off": 200} {
		server.Reload(site("accept "+mode, next))
		response, text := do(t, ssetest.Client(t, "h1"), "POST", server.URL("h1", "/"), "{}", ssetest.With("Accept", "application/json"))
		if isStream := text == ":\ndata: 1\n\n"; response.StatusCode != want || isStream != (mode == "standard" || mode == "off") {
			t.Errorf("%s: status %d, %q", mode, response.StatusCode, text)
		}
	}
}
