package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// reserved is how much of max_payload is left to headers.
const reserved = 512

// leastPayload is the least max_payload that a server may have: presence needs as much.
const leastPayload = 256<<10 + reserved

// checkVersion rejects servers that are too old.
func checkVersion(version string) error {
	major, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err := strconv.Atoi(major)
	b, invalid := strconv.Atoi(minor)
	if err != nil || invalid != nil || a < 2 || a == 2 && b < 11 {
		return fmt.Errorf("%w: use NATS 2.11 or newer, the server is %q", store.ErrRefused, version)
	}
	return nil
}

// shortestAge is the shortest age that JetStream takes.
const shortestAge = 100 * time.Millisecond

// streamConfig returns what a stream is like that is made. Its limits are those of all logs: each log is kept within its own by
// Trim.
func (s *Store) streamConfig() *jetstream.StreamConfig {
	return &jetstream.StreamConfig{
		Name:        s.Stream,
		Description: "Histories of caddy-sse",
		Subjects:    []string{s.Prefix + ".log.*"},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		Storage:     jetstream.FileStorage,
		MaxAge:      max(s.Settings().Age, shortestAge),
		Replicas:    s.Replicas,
		AllowDirect: true,
		RePublish:   &jetstream.RePublish{Source: s.Prefix + ".log.>", Destination: s.Prefix + ".live.>"},
	}
}

// check rejects a stream that is not as it has to be. Other limits and another number of replicas are its owner's business.
func (s *Store) check(is *jetstream.StreamConfig) error {
	want := s.streamConfig()
	change := ""
	var re jetstream.RePublish
	if is.RePublish != nil {
		re = *is.RePublish
	}
	switch {
	case !slices.Equal(is.Subjects, want.Subjects):
		change = fmt.Sprintf("has the subjects %q instead of %q: name another stream, or the prefix that it was made with", is.Subjects, want.Subjects)
	case is.Mirror != nil || len(is.Sources) > 0 || is.SubjectTransform != nil:
		change = "is fed by other streams, or renames subjects: name another stream"
	case is.Sealed || is.DenyPurge:
		change = "does not let messages be dropped (sealed or deny_purge): name another stream"
	case is.NoAck:
		change = "does not acknowledge messages: set its no_ack to false"
	case is.Retention != want.Retention:
		change = fmt.Sprintf("has the retention %s: name another stream", is.Retention)
	case is.Discard != want.Discard:
		change = "rejects new messages at its limits: set its discard policy to old"
	case re.HeadersOnly:
		change = "republishes headers alone: set headers_only of its republish to false"
	case re != *want.RePublish:
		change = fmt.Sprintf("does not republish what it stores: set its republish from %s to %s", want.RePublish.Source, want.RePublish.Destination)
	case !is.AllowDirect:
		change = "has no direct access: set its allow_direct to true"
	case is.MaxAge > 0 && is.MaxAge < want.MaxAge:
		change = fmt.Sprintf("drops messages after %s: set its max_age to %s or more, or the age of keep to less", is.MaxAge, want.MaxAge)
	default:
		return nil
	}
	return fmt.Errorf("%w: the stream %s %s", store.ErrRefused, s.Stream, change)
}

type infoAnswer struct {
	apiError
	jetstream.StreamInfo
}

// streamInfo returns what the stream is like. It makes one if that is allowed and there is none.
func (s *session) streamInfo(ctx context.Context, create bool) (*jetstream.StreamInfo, error) {
	var answer infoAnswer
	err := s.api(ctx, "STREAM.INFO", struct{}{}, &answer)
	var failure *jetstream.APIError
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		err = fmt.Errorf("%w: turn on JetStream at the server and for the account (%w)", store.ErrRefused, err)
	case create && errors.As(err, &failure) && failure.ErrorCode == jetstream.JSErrCodeStreamNotFound:
		if err := s.api(ctx, "STREAM.CREATE", s.config.streamConfig(), new(infoAnswer)); err != nil {
			return nil, err
		}
		return s.streamInfo(ctx, false) // the first answer has another time of creation than those that follow
	}
	return &answer.StreamInfo, err
}

// impossible is a sequence that no message has.
const impossible = store.Pos(1 << 62)

// checkRights does all that is done with a log, so that a missing right shows at once. It adds no message.
func (s *session) checkRights(ctx context.Context) error {
	const name = "check"
	subject := s.subject.log + name
	for _, to := range []string{s.subject.live + name, s.subject.presence} {
		sub, err := s.nc.SubscribeSync(to)
		if err != nil {
			return explain(err)
		}
		err = s.nc.FlushTimeout(timeout)
		if err == nil {
			_, err = sub.NextMsg(time.Nanosecond) // it returns the error if the right is missing
		}
		unsubscribed := sub.Unsubscribe()
		if err != nil && !errors.Is(err, nats.ErrTimeout) {
			return explain(err)
		}
		if unsubscribed != nil {
			return explain(unsubscribed)
		}
	}
	if _, err := s.append(ctx, subject, impossible, nil); !errors.Is(err, store.ErrConflict) {
		return cmp.Or(err, errors.New("JetStream does not check which message is the newest one"))
	}
	if _, err := s.newest(ctx, subject); err != nil && !errors.Is(err, store.ErrEmpty) {
		return err
	}
	if _, err := s.batch(ctx, subject, 0); err != nil {
		return err
	}
	if err := s.purge(ctx, subject, 1); err != nil {
		return err
	}
	return s.checkPublish(ctx, s.subject.presence)
}

// checkPublish returns an error if the right to publish to a subject is missing. The server says so before it answers a ping.
func (s *session) checkPublish(ctx context.Context, subject string) error {
	c, end := s.begin(ctx, subject, nil)
	defer end()
	if err := s.nc.Publish(subject, nil); err != nil {
		return explain(err)
	}
	if err := s.nc.FlushTimeout(timeout); err != nil {
		return explain(err)
	}
	if errors.Is(s.nc.LastError(), nats.ErrPermissionViolation) {
		select {
		case <-c.Done(): // denied is about to be called
		case <-time.After(100 * time.Millisecond): // it was another call, earlier
		}
	}
	return c.why(ctx, nil)
}
