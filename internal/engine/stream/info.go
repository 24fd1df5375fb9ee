package stream

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Info is a stream as the API shows it.
type Info struct {
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

// List describes the streams that are open, oldest first.
func List() []Info {
	list := []Info{}
	for _, s := range openStreams.all() {
		if s.open.Load() {
			list = append(list, s.Info())
		}
	}
	return list
}

// EndByID ends the open stream with that id for the admin API. It reports whether there is one.
func EndByID(id uint64) bool {
	s := openStreams.get(id)
	if s == nil || !s.open.Load() {
		return false
	}
	s.End(EndAdmin)
	s.unblockWrites() // of one that ends already, but whose client takes nothing
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

// URI returns the URI that the client has asked for, without secrets.
func (s *Stream) URI() string { return askedFor(s.Request) }

// askedFor returns the URI of the client's request before any rewrite, without secrets.
func askedFor(r *http.Request) string {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		return withoutSecrets(original.URL)
	}
	return withoutSecrets(r.URL)
}

// withoutSecrets returns the URL with the names, but not the values, of its query. A part without a name is a value.
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
