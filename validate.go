package sse

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

type namedDuration struct {
	name  string
	value time.Duration
}

func (h *Handler) durations() []namedDuration {
	all := []namedDuration{
		{"retry", time.Duration(h.Retry)}, {"heartbeat", time.Duration(h.Heartbeat)}, {"stall_timeout", time.Duration(h.StallTimeout)},
		{"max_duration", time.Duration(h.MaxDuration)}, {"max_duration_jitter", time.Duration(h.MaxDurationJitter)}, {"drain", time.Duration(h.Drain)},
	}
	if h.Share != nil {
		all = append(all, namedDuration{"linger", time.Duration(h.Share.Linger)})
	}
	return all
}

// checkMatch refuses a status that no response has. One of a digit stands for its class.
func checkMatch(match *caddyhttp.ResponseMatcher) error {
	if match == nil {
		return nil
	}
	for _, status := range match.StatusCode {
		if status < 1 || status > 5 && status < 100 || status > 599 {
			return fmt.Errorf("match: no response has status %d", status)
		}
	}
	return nil
}

// isErrorStatus reports whether accept may refuse with that status.
func isErrorStatus(status int) bool { return 400 <= status && status <= 599 }

// charsetOfEventStream reports whether the config gives an event stream another charset than it has.
func (h *Handler) charsetOfEventStream() bool {
	charset, err := records.LookupCharset(h.Charset)
	return h.Format == records.EventStream.String() && err == nil && charset.String() != "utf-8"
}

var errCharsetOfEventStream = errors.New("an event stream is always utf-8: remove charset, or the format event_stream")

func checkCharset(name string) error {
	if name == "" {
		return errors.New("must have a name, such as utf-8")
	}
	_, err := records.LookupCharset(name)
	return err
}

func checkTemplate(text string) error {
	_, err := mapping.ParseTemplate(text)
	return err
}
