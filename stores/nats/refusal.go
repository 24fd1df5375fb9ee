package nats

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// Codes of JetStream's errors that nats.go does not name.
const (
	accountLimits       jetstream.ErrorCode = 10002
	noPeers             jetstream.ErrorCode = 10005
	noResources         jetstream.ErrorCode = 10023
	mostStreams         jetstream.ErrorCode = 10027
	noMemory            jetstream.ErrorCode = 10028
	noStorage           jetstream.ErrorCode = 10047
	subjectsOverlap     jetstream.ErrorCode = 10065
	replicasUnsupported jetstream.ErrorCode = 10074
	storeFailed         jetstream.ErrorCode = 10077
	streamBytes         jetstream.ErrorCode = 10122
)

// advice says what the user must change when JetStream answers with one of these codes.
var advice = []struct {
	codes  []jetstream.ErrorCode
	change string
}{
	{[]jetstream.ErrorCode{jetstream.JSErrCodeJetStreamNotEnabled, jetstream.JSErrCodeJetStreamNotEnabledForAccount}, "turn on JetStream at the server and for the account"},
	{[]jetstream.ErrorCode{replicasUnsupported, noPeers}, "set replicas to no more than there are servers with JetStream"},
	{[]jetstream.ErrorCode{subjectsOverlap}, "another stream has the subjects: name that one with stream, or set another prefix"},
	{[]jetstream.ErrorCode{accountLimits, mostStreams, streamBytes}, "raise the limits of the account, or keep less"},
	{[]jetstream.ErrorCode{noResources, noMemory, noStorage, storeFailed}, "give JetStream more room at the server, or keep less"},
}

// explain returns an error that wraps store.ErrRefused if NATS, or what answers in its place, asks for a change.
func explain(err error) error {
	var answer *jetstream.APIError
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var alert *net.OpError
	change := ""
	switch {
	case err == nil || errors.Is(err, store.ErrRefused):
		return err
	case errors.As(err, &answer):
		for _, a := range advice {
			if slices.Contains(a.codes, answer.ErrorCode) {
				change = a.change
			}
		}
	case errors.As(err, &certificate), errors.As(err, &authority):
		change = "correct ca or server_name of tls"
	case errors.As(err, &alert) && alert.Op == "remote error": // crypto/tls does not export its type
		change = "correct client_cert of tls"
	case errors.Is(err, nats.ErrPermissionViolation):
		change = "give the user the rights that the documentation of store nats names"
	case isAuth(err):
		change = "correct user, token, credentials or nkey"
	case errors.Is(err, nats.ErrSecureConnWanted):
		change = "turn on TLS at the server, or name it without tls"
	case errors.Is(err, nats.ErrSecureConnRequired):
		change = "set tls, as the server wants it"
	case errors.Is(err, nats.ErrNkeysNotSupported):
		change = "set user or token, as the server takes no keys"
	case errors.Is(err, nats.ErrMaxSubscriptionsExceeded):
		change = "raise the number of subscriptions that the server takes (max_subscriptions): each source that has clients needs one"
	case errors.Is(err, nats.ErrMaxConnectionsExceeded), errors.Is(err, nats.ErrMaxAccountConnectionsExceeded):
		change = "raise the number of connections that the server or the account takes"
	}
	if change == "" {
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) {
			return fmt.Errorf("%w: %w", errSilent, err)
		}
		return err
	}
	return fmt.Errorf("%w: %s (%w)", store.ErrRefused, change, err)
}

// isAuth reports whether the server does not know who connects. While a connection is being made, nats.go has the
// server's words only.
func isAuth(err error) bool {
	for _, known := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
		if errors.Is(err, known) || strings.Contains(strings.ToLower(err.Error()), strings.TrimPrefix(known.Error(), "nats: ")) {
			return true
		}
	}
	return false
}
