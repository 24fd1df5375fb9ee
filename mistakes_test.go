package sse_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// isInTroubleshooting checks that a user who searches the page for these words finds the cure.
func isInTroubleshooting(t *testing.T, words string) {
	t.Helper()
	page, err := os.ReadFile("docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "`"+words) {
		t.Errorf("docs/troubleshooting.md does not name %q", words)
	}
}

// TestABeginnersMistakeInTheConfigLeadsToItsCure: the error has words that the documentation explains.
func TestABeginnersMistakeInTheConfigLeadsToItsCure(t *testing.T) {
	for config, words := range map[string]string{
		"sse\nbackend dial localhost:9000":                         "unrecognized directive: backend",
		"sse {\nwhere record.msg.startsWith(\"out of \")\n}":       "unexpected EOF",
		"sse {\ndata {\"a\": {record.b}}\n}":                       "wrong argument count or unexpected line ending",
		"sse {\ndata {record.name\nbackend dial localhost:9000\n}": "is not closed",
		"sse {\nwhere record.level = \"warn\"\n}":                  "a single = does not compare",
		"sse {\nbackend tcp localhost:9000\n}":                     "there is no backend",
	} {
		isInTroubleshooting(t, words)
		if _, err := adapt(t, ":80 {\n"+config+"\n}\n"); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s\nthe error is %v, want %q", config, err, words)
		}
	}
}

// TestABeginnersMistakeInAServiceLeadsToItsCure: status and log have words that the documentation explains.
func TestABeginnersMistakeInAServiceLeadsToItsCure(t *testing.T) {
	t.Cleanup(share.CloseAll)
	service := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", strings.TrimPrefix(r.URL.Path, "/"))
		_, _ = w.Write([]byte("{}\n"))
	})
	closed := ssetest.FreeAddress(t)
	server := ssetest.Start(t, ssetest.Site(`
		handle /text/html {
			sse
			reverse_proxy `+service+`
		}
		handle /application/json {
			sse
			reverse_proxy `+service+`
		}
		handle /port {
			sse
			reverse_proxy `+closed+`
		}
		handle /command {
			sse {
				backend exec mosquito_sub
			}
		}
		handle /page {
			sse {
				backend http http://`+service+`/text/html
			}
		}
	`))
	for _, test := range []struct {
		path, accept string
		status       int
		message      string
		words        string // of the message's field error or reason
	}{
		{"/text/html", "text/event-stream", 200, "response passes unchanged", "its content type is not one of records"},
		{"/application/json", "*/*", 200, "response passes unchanged", "the client did not ask for text/event-stream by name"},
		{"/port", "text/event-stream", 502, "upstream failed", "connection refused"},
		{"/command", "text/event-stream", 502, "upstream failed", "executable file not found"},
		{"/page", "text/event-stream", 502, "upstream failed", "which is not one of records"},
	} {
		isInTroubleshooting(t, test.message)
		isInTroubleshooting(t, test.words)
		s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", test.path), ssetest.With("Accept", test.accept))
		if s.Status != test.status || s.Header.Get("Content-Type") == "text/event-stream" {
			t.Errorf("%s: status %d, %v", test.path, s.Status, s.Header)
		}
		server.WaitLog(test.message+" of "+test.path, func(log ssetest.Log) bool {
			why, _ := log.Fields["reason"].(string)
			failure, _ := log.Fields["error"].(string)
			return log.Message == test.message && log.Fields["uri"] == test.path && strings.Contains(why+failure, test.words)
		})
	}
	if s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/elsewhere")); s.Status != http.StatusOK || s.WaitEnd() != nil || s.Raw() != "" {
		t.Errorf("a path without a route is answered %d, %q", s.Status, s.Raw())
	}
}
