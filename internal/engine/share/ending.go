package share

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

var (
	errAskerIsGone = errors.New("the process that had asked the upstream is gone, and it is asked only once")
	errReset       = errors.New("the store has lost the history of the source")
)

// named are the errors at the end of an upstream that have the same name in all processes.
var named = map[string]error{
	"ended":            backend.ErrEnded,
	"stopped":          upstream.ErrStopped,
	"admin":            stream.ErrEndedByAdmin,
	"record_too_large": upstream.ErrRecordTooLarge,
	"invalid_record":   upstream.ErrRecordInvalid,
	"upstream_timeout": upstream.ErrSilent,
}

// textOf returns an upstream's end as a text for other processes. It is empty for a clean end. Otherwise it is a name, the record that
// reports the failure, or the status of a response and the error.
func textOf(err error) string {
	if err == nil {
		return ""
	}
	var record *upstream.FailureRecord
	if errors.As(err, &record) {
		return "record " + string(record.Text)
	}
	for name, known := range named {
		if errors.Is(err, known) && (known != backend.ErrEnded || err == known) {
			return name
		}
	}
	return strconv.Itoa(failure.Status(err)) + " " + failure.Plain(err).Error()
}

// endOf reverses textOf.
func endOf(text string) error {
	if text == "" {
		return nil
	}
	if err, ok := named[text]; ok {
		return err
	}
	kind, rest, _ := strings.Cut(text, " ")
	if kind == "record" {
		return &upstream.FailureRecord{Text: []byte(rest)}
	}
	status, err := strconv.Atoi(kind)
	if err != nil || status < 400 || status > 599 {
		status = http.StatusBadGateway
	}
	return caddyhttp.Error(status, errors.New(rest))
}

// isEndedByHand reports whether a client or the admin API has ended a source. Such a source is not kept.
func isEndedByHand(err error) bool {
	return err == upstream.ErrStopped || err == stream.ErrEndedByAdmin
}
