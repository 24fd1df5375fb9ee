package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// reader hands on the messages of a log.
type reader struct {
	*session
	subject string
	after   store.Pos // the last one that was handed on
	f       func(store.Message) error
}

// ownError is an error of the caller's function.
type ownError struct{ error }

func (r *reader) hand(messages ...store.Message) error {
	for _, m := range messages {
		if err := r.f(m); err != nil {
			return &ownError{err}
		}
		r.after = m.Pos
	}
	return nil
}

// hear hands on a message that is published, after those before it that are missing.
func (r *reader) hear(ctx context.Context, m *nats.Msg) error {
	pos, before, err := places(m)
	if err != nil || pos <= r.after {
		return err
	}
	for before > r.after {
		came, err := r.read(ctx)
		if err == nil && !came { // the server that was read from is behind, or they have been dropped since
			came, err = r.readNext(ctx)
		}
		if err != nil {
			return err
		}
		if !came {
			break
		}
	}
	if pos <= r.after {
		return nil
	}
	return r.hand(store.Message{Pos: pos, Data: m.Data})
}

// catchUp hands on all that there is.
func (r *reader) catchUp(ctx context.Context) error {
	if _, err := r.read(ctx); err != nil {
		return err
	}
	came, err := r.readNext(ctx)
	if err != nil || !came {
		return err
	}
	_, err = r.read(ctx)
	return err
}

// read hands on what one of the servers has. It reports whether that is something.
func (r *reader) read(ctx context.Context) (came bool, err error) {
	for {
		messages, err := r.batch(ctx, r.subject, r.after)
		if err != nil || len(messages) == 0 {
			return came, err
		}
		if err := r.hand(messages...); err != nil {
			return came, err
		}
		came = true
	}
}

// readNext hands on the next message that the stream's leader has. It reports whether there is one.
func (r *reader) readNext(ctx context.Context) (came bool, err error) {
	m, err := r.next(ctx, r.subject, r.after)
	if errors.Is(err, store.ErrEmpty) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, r.hand(m)
}

// How much is read at once.
const (
	mostRead      = 256
	mostReadBytes = 1 << 20
)

var errIncomplete = errors.New("an answer of JetStream has not arrived whole")

// batch returns the first messages of a log after that place. Any server that has the stream answers. It may be behind.
func (s *session) batch(ctx context.Context, subject string, after store.Pos) ([]store.Message, error) {
	to := jetstream.DefaultAPIPrefix + "DIRECT.GET." + s.config.Stream
	c, end := s.begin(ctx, to, nil)
	defer end()
	limited, cancel := context.WithTimeout(c, timeout)
	defer cancel()
	request, err := json.Marshal(&getRequest{Next: subject, Seq: uint64(after) + 1, Batch: mostRead, MaxBytes: mostReadBytes})
	if err != nil {
		return nil, err
	}
	inbox := s.nc.NewInbox()
	sub, err := s.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, c.why(ctx, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // it fails if the connection is lost, and then is of no use
	if err := s.nc.PublishRequest(to, inbox, request); err != nil {
		return nil, c.why(ctx, err)
	}
	var messages []store.Message
	for last := store.Pos(0); ; {
		m, err := sub.NextMsgWithContext(limited)
		if err != nil {
			return nil, c.why(ctx, err)
		}
		switch status := m.Header.Get("Status"); status {
		case "":
		case "204", "404": // there are no more in this answer, or at all
			if _, sent, err := places(m); status == "204" && (err != nil || sent != last) {
				return nil, errIncomplete
			}
			return messages, nil
		case "503":
			return nil, c.why(ctx, nats.ErrNoResponders)
		default:
			return nil, fmt.Errorf("JetStream does not let messages be read: %s %s", status, m.Header.Get("Description"))
		}
		pos, before, err := places(m)
		if err != nil {
			return nil, err
		}
		if before != last || pos <= last {
			return nil, errIncomplete
		}
		last = pos
		messages = append(messages, store.Message{Pos: pos, Data: m.Data})
	}
}

// places returns the place of a message, and of the one before it. An answer's end has the last one's place there.
func places(m *nats.Msg) (pos, before store.Pos, err error) {
	for name, place := range map[string]*store.Pos{jetstream.SequenceHeader: &pos, jetstream.LastSequenceHeader: &before} {
		text := m.Header.Get(name)
		n, invalid := strconv.ParseUint(text, 10, 64)
		if invalid != nil && !(text == "" && m.Header.Get("Status") != "") {
			err = fmt.Errorf("%w: a message has no %s: nothing but the stream may publish to the subjects of store nats", store.ErrRefused, name)
		}
		*place = store.Pos(n)
	}
	return pos, before, err
}
