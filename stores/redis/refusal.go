package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// advice says what the user must change if an answer from Redis contains one of these texts.
var advice = []struct {
	texts  []string
	change string
}{
	{[]string{"WRONGPASS", "NOAUTH", "invalid password", "without any password configured"}, "correct the user and the password in the URL"},
	{[]string{"NOPERM", "ACL failure", "user executing the script can't"}, "give the user the rights that the documentation of store redis names"},
	{[]string{"WRONGTYPE"}, "the key is in use for something else: set another prefix"},
	{[]string{"MOVED", "ASK ", "CLUSTERDOWN", "CROSSSLOT"}, "the server is part of a cluster: name one that is not"},
	{[]string{"READONLY"}, "the server is a replica: name the primary"},
	{[]string{"OOM"}, "raise the server's maxmemory, or keep less"},
	{[]string{"MISCONF"}, "the server cannot write to its disk: its log says why"},
	{[]string{"max number of clients"}, "raise the server's maxclients"},
	{[]string{"DB index is out of range", "SELECT is not allowed"}, "correct the database in the URL"},
	{[]string{"DENIED"}, "set a password at the server, or turn off its protected mode"},
	{[]string{"unknown command", "syntax error", "Invalid stream ID"}, "use Redis 6.2 or newer"},
}

// explain wraps an error in store.ErrRefused if the user must change something at Redis, at a proxy, or in the config.
func explain(err error) error {
	var answer redis.Error
	var certificate *tls.CertificateVerificationError
	var alert *net.OpError
	change := ""
	switch {
	case errors.Is(err, store.ErrRefused):
	case errors.As(err, &answer):
		for _, a := range advice {
			for _, text := range a.texts {
				if change == "" && strings.Contains(answer.Error(), text) {
					change = a.change
				}
			}
		}
	case errors.As(err, &certificate):
		change = "correct ca or server_name of tls"
	case errors.As(err, &alert) && alert.Op == "remote error": // crypto/tls does not export its type
		change = "correct client_cert of tls"
	}
	if change == "" {
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%w: %w", errSilent, err)
		}
		return err
	}
	return fmt.Errorf("%w: %s (%w)", store.ErrRefused, change, err)
}

// check uses each operation of a log once, so that missing rights, a replica or an old version show at once. Its key exists
// for a moment.
func (c *connection) check(ctx context.Context) error {
	l := &log{connection: c, key: c.prefix + "check", channel: c.prefix + "check"}
	if _, err := l.append(ctx, 0, nil, time.Millisecond); err != nil && !errors.Is(err, store.ErrConflict) {
		return err
	}
	if _, err := l.Head(ctx); err != nil && !errors.Is(err, store.ErrEmpty) {
		return err
	}
	if _, err := l.read(ctx, 0, func(store.Message) error { return nil }); err != nil {
		return err
	}
	return l.Trim(ctx, 0)
}
