package sse

import (
	"errors"
	"net/http"
	"strconv"
	"syscall"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// badStatus is the status of an upstream's answer that has no records.
type badStatus int

func (s badStatus) Error() string { return "status " + strconv.Itoa(int(s)) }

// refusesRequest is whether an upstream failed because of the way it was asked: asked in another way, it may answer.
func refusesRequest(err error) bool {
	if errors.Is(err, syscall.E2BIG) {
		return true
	}
	var status badStatus
	var own caddyhttp.HandlerError
	if !errors.As(err, &status) && errors.As(err, &own) {
		status = badStatus(own.StatusCode)
	}
	switch int(status) {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired, http.StatusRequestTimeout,
		http.StatusMisdirectedRequest, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status >= 400 && status < 500
}
