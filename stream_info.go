package sse

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

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

func (s *stream) info() streamInfo {
	info := streamInfo{
		ID: strconv.FormatUint(s.id, 10), Name: s.group.report.Name, Backend: s.group.report.Backend, ClientIP: s.clientIP,
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

func (s *stream) uri() string { return askedFor(s.request) }

// askedFor is the URI of the client's request, whatever a rewrite has made of it, without what may be secret.
func askedFor(r *http.Request) string {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		return withoutSecrets(original.URL)
	}
	return withoutSecrets(r.URL)
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
