package sse_test

import (
	"compress/gzip"
	"net/http"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// A few kilobytes of gzip are megabytes of these.
func TestHeartbeatsOfAnUpstreamThatCameTogetherAreOneComment(t *testing.T) {
	const megabytes = 2
	for name, c := range map[string]struct{ contentType, format, text, sent string }{
		"blank lines":                  {ndjson, "auto", "\n", ":\n"},
		"comments of an event stream":  {eventStream, "event_stream", ":\n", ":\n"},
		"the retry of an event stream": {eventStream, "event_stream", "retry:5\n", "retry: 5\n"},
		"blank lines between JSON":     {"application/json", "json", "\n", ":\n"},
	} {
		t.Run(name, func(t *testing.T) {
			ssetest.NoLeaks(t)
			server := ssetest.Start(t, site("format "+c.format, "reverse_proxy "+ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", c.contentType)
				w.Header().Set("Content-Encoding", "gzip")
				compressed := gzip.NewWriter(w)
				for range megabytes {
					_, _ = compressed.Write([]byte(strings.Repeat(c.text, 1<<20/len(c.text))))
				}
				_ = compressed.Close()
			})))
			raw := wholeBody(t, get(t, server, "/"))
			if n := strings.Count(raw, c.sent); n > megabytes<<10 {
				t.Errorf("%d times %q for %d MB", n, c.sent, megabytes)
			}
		})
	}
}
