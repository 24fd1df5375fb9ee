package stream

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Info describes a stream in the admin API.
type Info struct {
	ID       string    `json:"id"`
	Server   string    `json:"server"`
	Name     string    `json:"name,omitempty"`
	Backend  string    `json:"backend"`
	ClientIP string    `json:"client_ip"`
	URI      string    `json:"uri"` // without the values in the query, which may be secrets
	Protocol string    `json:"protocol"`
	Since    time.Time `json:"since"`
	Events   int64     `json:"events"`
	Bytes    int64     `json:"bytes"`
	Behind   int       `json:"behind"` // events in a shared source that were not sent to the client yet
}

// List describes the open streams, oldest first.
func List() []Info {
	list := []Info{}
	for _, s := range openStreams.all() {
		if s.open.Load() {
			list = append(list, s.Info())
		}
	}
	return list
}

// EndByID ends the open stream with this id for the admin API. It returns false if there is none.
func EndByID(id uint64) bool {
	s := openStreams.get(id)
	if s == nil || !s.open.Load() {
		return false
	}
	s.End(EndAdmin)
	s.unblockWrites() // End does not, if the stream is ending already
	return true
}

// Info describes the stream.
func (s *Stream) Info() Info {
	info := Info{
		ID: strconv.FormatUint(s.id, 10), Name: s.group.Report.Name, Backend: s.group.Report.Backend, ClientIP: s.clientIP,
		URI: s.URI(), Protocol: s.Request.Proto, Since: s.started,
		Events: s.events.Load(), Bytes: s.bytes.Load(),
	}
	if server, ok := s.Request.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		info.Server = server.Name()
	}
	if s.Behind != nil {
		info.Behind = s.Behind()
	}
	return info
}

// URI returns the URI of the client's request, without secrets.
func (s *Stream) URI() string { return askedFor(s.Request) }

// askedFor returns the URI of the client's request before rewrites, without secrets.
func askedFor(r *http.Request) string {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		return withoutSecrets(original.URL)
	}
	return withoutSecrets(r.URL)
}

// withoutSecrets returns the URL without the values in its query. A parameter without a name counts as a value.
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
