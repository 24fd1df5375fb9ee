// Package admin is the admin API of the sse handler. It lists and ends the streams and sources in this process.
package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
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

// adminAPI lists and ends the streams and sources in this process:
//
//	GET    /sse/streams        lists the open streams
//	GET    /sse/streams?…      lists those with these values of client_ip, name and uri
//	DELETE /sse/streams?…      ends those
//	DELETE /sse/streams/<id>   ends one stream
//	GET    /sse/sources        lists the sources that streams share
//	DELETE /sse/sources/<id>   ends one source and all its streams
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.sse", New: func() caddy.Module { return new(adminAPI) }}
}

// Routes returns the endpoints.
func (a adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/sse/streams", Handler: caddy.AdminHandlerFunc(a.selectStreams)},
		{Pattern: "/sse/streams/", Handler: caddy.AdminHandlerFunc(a.endStream)},
		{Pattern: "/sse/sources", Handler: caddy.AdminHandlerFunc(a.listSources)},
		{Pattern: "/sse/sources/", Handler: caddy.AdminHandlerFunc(a.endSource)},
	}
}

// selectStreams lists the streams that the query selects, or ends them.
func (adminAPI) selectStreams(w http.ResponseWriter, r *http.Request) error {
	if err := allow(w, r, http.MethodGet, http.MethodDelete); err != nil {
		return err
	}
	selects, empty, err := parseSelection(r.URL.RawQuery)
	if err == nil && r.Method == http.MethodDelete && (empty || len(selects) == 0) {
		err = errors.New("say which streams are to end: by client_ip, name or uri, each with a value") // an empty variable in a script must not end all streams
	}
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
	}
	list := slices.DeleteFunc(stream.List(), func(info stream.Info) bool {
		return slices.ContainsFunc(selects, func(selected func(stream.Info) bool) bool { return !selected(info) })
	})
	if r.Method == http.MethodGet {
		return writeJSON(w, list)
	}
	for _, info := range list {
		if id, err := strconv.ParseUint(info.ID, 10, 64); err == nil {
			stream.EndByID(id)
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// parseSelection parses a query. It returns the conditions for a stream, and whether a value in the query is empty.
func parseSelection(query string) (selects []func(stream.Info) bool, empty bool, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, false, err
	}
	for field, wanted := range values {
		var value func(stream.Info) string
		switch field {
		case "client_ip":
			value = func(info stream.Info) string { return info.ClientIP }
		case "name":
			value = func(info stream.Info) string { return info.Name }
		case "uri":
			value = func(info stream.Info) string { return info.URI }
		default:
			return nil, false, fmt.Errorf("streams are not selected by %q, but by client_ip, name or uri", field)
		}
		selects = append(selects, func(info stream.Info) bool { return slices.Contains(wanted, value(info)) })
		empty = empty || slices.Contains(wanted, "")
	}
	return selects, empty, nil
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

func (adminAPI) endSource(w http.ResponseWriter, r *http.Request) error {
	if err := allow(w, r, http.MethodDelete); err != nil {
		return err
	}
	if !share.EndByID(strings.TrimPrefix(r.URL.Path, "/sse/sources/")) {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("no source has that id")}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func allow(w http.ResponseWriter, r *http.Request, methods ...string) error {
	if slices.Contains(methods, r.Method) {
		return nil
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method is not allowed here")}
}

func writeJSON(w http.ResponseWriter, value any) error {
	w.Header().Set("Content-Type", "application/json")
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // the response is shown in terminals, not in HTML
	if err := encoder.Encode(value); err != nil {
		return err
	}
	_, err := w.Write(escapeControls(text.Bytes()))
	return err
}

// escapeControls escapes the control characters that JSON need not escape. Some of them have an effect on terminals.
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
