// Package admin lists the streams and sources of this process, and ends streams.
package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI lists the streams and sources of this process, and ends streams:
//
//	GET    /sse/streams        the streams that are open
//	DELETE /sse/streams/<id>   ends one of them
//	GET    /sse/sources        the sources that streams share
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.sse", New: func() caddy.Module { return new(adminAPI) }}
}

// Routes are the API's endpoints.
func (a adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/sse/streams", Handler: caddy.AdminHandlerFunc(a.listStreams)},
		{Pattern: "/sse/streams/", Handler: caddy.AdminHandlerFunc(a.endStream)},
		{Pattern: "/sse/sources", Handler: caddy.AdminHandlerFunc(a.listSources)},
	}
}

func (adminAPI) listStreams(w http.ResponseWriter, r *http.Request) error {
	if err := allow(w, r, http.MethodGet); err != nil {
		return err
	}
	return writeJSON(w, stream.List())
}

func (adminAPI) listSources(w http.ResponseWriter, r *http.Request) error {
	if err := allow(w, r, http.MethodGet); err != nil {
		return err
	}
	return writeJSON(w, share.List())
}

func (adminAPI) endStream(w http.ResponseWriter, r *http.Request) error {
	if err := allow(w, r, http.MethodDelete); err != nil {
		return err
	}
	id, err := strconv.ParseUint(strings.TrimPrefix(r.URL.Path, "/sse/streams/"), 10, 64)
	if err != nil || !stream.EndByID(id) {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("no open stream has that id")}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func allow(w http.ResponseWriter, r *http.Request, method string) error {
	if r.Method == method {
		return nil
	}
	w.Header().Set("Allow", method)
	return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method is not allowed here")}
}

func writeJSON(w http.ResponseWriter, value any) error {
	w.Header().Set("Content-Type", "application/json")
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // it is read in terminals, and no page
	if err := encoder.Encode(value); err != nil {
		return err
	}
	_, err := w.Write(escapeControls(text.Bytes()))
	return err
}

// escapeControls escapes the control characters that JSON may hold as they are. A terminal obeys some of them.
func escapeControls(text []byte) []byte {
	isControl := func(r rune) bool { return r >= 0x7f && r <= 0x9f }
	var escaped []byte
	for {
		i := bytes.IndexFunc(text, isControl)
		if i < 0 {
			return append(escaped, text...)
		}
		r, width := utf8.DecodeRune(text[i:])
		escaped = fmt.Appendf(append(escaped, text[:i]...), "\\u%04x", r)
		text = text[i+width:]
	}
}

var _ caddy.AdminRouter = adminAPI{}
