// Package failure says what the failure of an upstream means for a request.
package failure

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"syscall"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// BadStatus is the status of an upstream's answer that has no records.
type BadStatus int

func (s BadStatus) Error() string { return "status " + strconv.Itoa(int(s)) }

// Status returns the status of the response if its upstream has failed before the response began.
func Status(err error) int {
	var handlerError caddyhttp.HandlerError
	var netError net.Error
	switch {
	case errors.As(err, &handlerError):
		return handlerError.StatusCode
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &netError) && netError.Timeout():
		return http.StatusGatewayTimeout
	default:
		return http.StatusBadGateway
	}
}

// AnswerStatus is Status, but for an upstream's answer that has no records it is that answer's own. One that says that all
// is well is a 502.
func AnswerStatus(err error) int {
	var status BadStatus
	if errors.As(err, &status) && status >= 300 {
		return int(status)
	}
	return Status(err)
}

// Plain returns err without what Caddy and net/http put around it: a place in the code, and the URL, which may hold a
// secret.
func Plain(err error) error {
	var handlerError caddyhttp.HandlerError
	if errors.As(err, &handlerError) && handlerError.Err != nil {
		err = handlerError.Err
	}
	var urlError *url.Error
	if errors.As(err, &urlError) {
		err = urlError.Err
	}
	return err
}

// RefusesRequest reports whether an upstream failed because of the way it was asked. Asked in another way, it may
// answer.
func RefusesRequest(err error) bool {
	if errors.Is(err, syscall.E2BIG) {
		return true
	}
	var status BadStatus
	var own caddyhttp.HandlerError
	if !errors.As(err, &status) && errors.As(err, &own) {
		status = BadStatus(own.StatusCode)
	}
	switch int(status) {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired, http.StatusRequestTimeout,
		http.StatusMisdirectedRequest, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status >= 400 && status < 500
}
