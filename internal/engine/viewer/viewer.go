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

// viewerPolicy allows only the page's own script and style, and connections to its own server. So data from an upstream can neither
// run nor fetch anything.
var viewerPolicy = "default-src 'none'; script-src " + inlineHash("script") + "; style-src " + inlineHash("style") +
	"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// inlineHash returns the source expression for the page's only element with this name (CSP Level 3 §2.3.1).
func inlineHash(element string) string {
	_, rest, _ := strings.Cut(viewerPage, "<"+element+">")
	text, _, _ := strings.Cut(rest, "</"+element+">")
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// WantsPage reports whether the request is a browser's navigation. A browser asks for HTML by name, and does not prefer an event stream
// by name.
func WantsPage(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	values := r.Header["Accept"]
	return accept.Named(values, "text/html") > accept.Named(values, "text/event-stream")
}

// Types are the types of the server's own events in a config. Empty means the default, or no such event.
type Types struct {
	Error     string `json:"error,omitempty"`
	Live      string `json:"live,omitempty"`
	Heartbeat string `json:"heartbeat,omitempty"`
}

// Page is the viewer page for one config.
type Page string

// New returns a page that knows these types.
func New(types Types) Page {
	const empty = `content="{}"`
	known, err := json.Marshal(types)
	if err != nil {
		panic(err) // impossible: the types are strings
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
