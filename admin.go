package sse

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
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

// streamInfo is a stream as the API shows it.
type streamInfo struct {
	ID       string    `json:"id"`
	Server   string    `json:"server"`
	Name     string    `json:"name,omitempty"`
	Backend  string    `json:"backend"`
	ClientIP string    `json:"client_ip"`
	URI      string    `json:"uri"` // without the values in its query, which may be secret
	Protocol string    `json:"protocol"`
	Since    time.Time `json:"since"`
	Events   int64     `json:"events"`
	Bytes    int64     `json:"bytes"`
	Behind   int       `json:"behind"` // events that a shared source has and the client has not yet been sent
}

// sourceInfo is a source as the API shows it.
type sourceInfo struct {
	Key        string      `json:"key"` // hashed, as it holds what the backend was given
	Epoch      string      `json:"epoch"`
	Name       string      `json:"name,omitempty"`
	Backend    string      `json:"backend"`
	State      sourceState `json:"state"`
	Since      time.Time   `json:"since"`
	Streams    int         `json:"streams"`
	History    int         `json:"history"`
	Bytes      int         `json:"bytes"`
	Records    uint64      `json:"records"`
	Reconnects int         `json:"reconnects"`
	LastError  string      `json:"last_error,omitempty"`
}

func (adminAPI) listStreams(w http.ResponseWriter, r *http.Request) error {
	if err := allow(w, r, http.MethodGet); err != nil {
		return err
	}
	list := []streamInfo{}
	for _, s := range openStreams.all() {
		if s.open.Load() {
			list = append(list, s.info())
		}
	}
	return writeJSON(w, list)
}

func (adminAPI) listSources(w http.ResponseWriter, r *http.Request) error {
	if err := allow(w, r, http.MethodGet); err != nil {
		return err
	}
	list := []sourceInfo{}
	for _, s := range sources.list() {
		list = append(list, s.info())
	}
	slices.SortFunc(list, func(a, b sourceInfo) int { return a.Since.Compare(b.Since) })
	return writeJSON(w, list)
}

func (adminAPI) endStream(w http.ResponseWriter, r *http.Request) error {
	if err := allow(w, r, http.MethodDelete); err != nil {
		return err
	}
	id, err := strconv.ParseUint(strings.TrimPrefix(r.URL.Path, "/sse/streams/"), 10, 64)
	s := openStreams.get(id)
	if err != nil || s == nil || !s.open.Load() {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("no open stream has that id")}
	}
	s.end(endAdmin)
	s.unblockWrites() // of one that ends already, but whose client takes nothing
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

func (s *stream) info() streamInfo {
	info := streamInfo{
		ID: strconv.FormatUint(s.id, 10), Name: s.handler.Name, Backend: s.handler.backendName(), ClientIP: s.clientIP,
		URI: s.uri(), Protocol: s.request.Proto, Since: s.started,
		Events: s.events.Load(), Bytes: s.bytes.Load(),
	}
	if server, ok := s.request.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		info.Server = server.Name()
	}
	if s.behind != nil {
		info.Behind = s.behind()
	}
	return info
}

// withoutSecrets is the URL with the names, but not the values, of its query. What has no name is a value.
func withoutSecrets(u *url.URL) string {
	shown := url.URL{Path: u.Path, RawPath: u.RawPath}
	if u.RawQuery == "" {
		return shown.String()
	}
	const redacted = "REDACTED"
	query := strings.Split(u.RawQuery, "&")
	for i, parameter := range query {
		name, _, named := strings.Cut(parameter, "=")
		if query[i] = redacted; named {
			query[i] = name + "=" + redacted
		}
	}
	shown.RawQuery = strings.Join(query, "&")
	return shown.String()
}

func (s *source) info() sourceInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.records.Stats()
	key := sha256.Sum256([]byte(s.key))
	info := sourceInfo{
		Key: hex.EncodeToString(key[:6]), Epoch: s.epoch, Name: s.handler.Name, Backend: s.handler.backendName(), State: s.state, Since: s.since,
		Streams: stats.Subscribers, History: stats.Events, Bytes: stats.Bytes, Records: s.committed,
		Reconnects: s.reconnects,
	}
	for _, f := range s.feeds {
		if f.frames != s.records {
			info.Streams += f.frames.Stats().Subscribers
		}
	}
	if s.lastErr != nil {
		info.LastError = failure.Plain(s.lastErr).Error()
	}
	return info
}

var _ caddy.AdminRouter = adminAPI{}
