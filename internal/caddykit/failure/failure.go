// Package failure derives a response's status from the failure of an upstream.
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

// BadStatus is the error for an answer of an upstream that has no records. It is the status of that answer.
type BadStatus int

func (s BadStatus) Error() string { return "status " + strconv.Itoa(int(s)) }

// Status returns the status of the response if its upstream has failed before the response began: that of a
// caddyhttp.HandlerError, 504 for a timeout, and 502 otherwise.
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

// AnswerStatus is Status, but if the upstream has answered without records, it returns the status of that answer. If that status says
// that all is well, it returns 502.
func AnswerStatus(err error) int {
	var status BadStatus
	if errors.As(err, &status) && status >= 300 {
		return int(status)
	}
	return Status(err)
}

// Plain returns err without the errors that Caddy and net/http wrap it in. These add a place in the code, and the URL, which may hold
// a secret.
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

// RefusesRequest reports whether an upstream has rejected the request itself, so that it may answer another request. An id that it
// does not accept can be the reason.
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
