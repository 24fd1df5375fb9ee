package sse_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// gzipMember is a gzip member that holds text.
func gzipMember(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text)
	_ = z.Close()
	return b.String()
}

func TestWhatFollowsAGzipStreamIsIgnored(t *testing.T) {
	ssetest.NoLeaks(t)
	for name, body := range map[string]string{
		"zeros": gzipMember("1\n") + strings.Repeat("\x00", 5000), "a byte": gzipMember("1\n") + "\n", "text": gzipMember("1\n") + "<!-- -->", "nothing": gzipMember("1\n"),
	} {
		t.Run(name, func(t *testing.T) {
			server := ssetest.Start(t, site("end done", "reverse_proxy "+ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				for _, part := range []string{body[:len(body)-1], body[len(body)-1:]} {
					saying(ndjson, part)(w, r)
					_ = http.NewResponseController(w).Flush()
				}
			})))
			if raw := wholeBody(t, get(t, server, "/")); raw != ":\ndata: 1\n\nevent: done\ndata: done\n\n" {
				t.Errorf("got %q", raw)
			}
		})
	}
}

func TestARecordThatIsAGzipMemberIsNotHeldBackUntilTheNext(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := newScript(ndjson)
	upstream.header.Set("Content-Encoding", "gzip")
	server := ssetest.Start(t, site("", "reverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)))
	s := get(t, server, "/")
	for _, record := range ssetest.Records(5) {
		upstream.say(gzipMember(record + "\n"))
		if e := s.Next(0); e.Data != record {
			t.Fatalf("got %q, want %q", e.Data, record)
		}
	}
	upstream.say("\x1f\x8b\x08") // the next one's beginning, and no more
	close(upstream.pieces)
	if e := s.Next(0); e.Type != frame.TypeError {
		t.Errorf("a member that is cut off is taken for whole: %+v", e)
	}
}

func TestIdentityIsNoEncodingHoweverOftenItIsSaid(t *testing.T) {
	ssetest.NoLeaks(t)
	server := ssetest.Start(t, site("", "reverse_proxy "+ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Encoding"] = []string{"identity", "Identity, identity"}
		saying(ndjson, "1\n")(w, r)
	})))
	if raw := wholeBody(t, get(t, server, "/")); raw != ":\ndata: 1\n\n" {
		t.Errorf("got %q", raw)
	}
}
