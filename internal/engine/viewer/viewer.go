// Package viewer serves the page that shows a stream.
package viewer

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/accept"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
)

// viewerPage shows the stream at its own URL.
//
//go:embed viewer.html
var viewerPage string

// viewerPolicy lets the page run its own script and style, and talk to its own server, and nothing else: whatever
// an upstream sends can neither run nor fetch anything.
var viewerPolicy = "default-src 'none'; script-src " + inlineHash("script") + "; style-src " + inlineHash("style") +
	"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// inlineHash is the source expression of the page's one element of that name (CSP Level 3 §2.3.1).
func inlineHash(element string) string {
	_, rest, _ := strings.Cut(viewerPage, "<"+element+">")
	text, _, _ := strings.Cut(rest, "</"+element+">")
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// WantsPage reports whether a browser navigates here: it asks for HTML by name, and for an event stream at most as one
// of whatever else there may be.
func WantsPage(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	values := r.Header["Accept"]
	return accept.Named(values, "text/html") > accept.Named(values, "text/event-stream")
}

// Types are the types of a config's own events. A type that is empty is none, or the default.
type Types struct {
	Error     string `json:"error,omitempty"`
	Live      string `json:"live,omitempty"`
	Heartbeat string `json:"heartbeat,omitempty"`
}

// Page is the page of one config.
type Page string

// New returns a page that knows these types.
func New(types Types) Page {
	const empty = `content="{}"`
	known, err := json.Marshal(types)
	if err != nil {
		panic(err) // strings only: cannot be
	}
	return Page(strings.Replace(viewerPage, empty, `content="`+html.EscapeString(string(known))+`"`, 1))
}

// Serve answers with the page.
func (p Page) Serve(w http.ResponseWriter, r *http.Request) error {
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(len(p)))
	header.Set("Content-Security-Policy", viewerPolicy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-cache")
	stream.AddVary(header)
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	_, err := io.WriteString(w, string(p))
	return err
}
