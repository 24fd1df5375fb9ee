package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// log implements store.Log. It is a subject of the stream. A place is a sequence of the stream.
type log struct {
	*connection
	subject string
	live    string // where the server says what it has stored

	seen atomic.Uint64 // the newest place that is known
}

// Head implements store.Log.
func (l *log) Head(ctx context.Context) (store.Message, error) {
	s, err := l.session(ctx)
	if err != nil {
		return store.Message{}, err
	}
	return s.newest(ctx, l.subject)
}

// Append implements store.Log.
func (l *log) Append(ctx context.Context, after store.Pos, data []byte) (store.Pos, error) {
	s, err := l.session(ctx)
	if err != nil {
		return 0, err
	}
	for pause := time.Millisecond; pause <= longestPause; pause *= 2 {
		pos, err := s.append(ctx, l.subject, after, data)
		if err == nil {
			l.seen.Store(uint64(pos))
		}
		if !errors.Is(err, store.ErrConflict) {
			return pos, err
		}
		// Several servers also say so for a moment after a message of the log has been accepted.
		switch head, failed := s.newest(ctx, l.subject); {
		case failed != nil && !errors.Is(failed, store.ErrEmpty):
			return 0, failed
		case head.Pos != after:
			return 0, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(pause):
		}
	}
	return 0, errBusy
}

// longestPause is the last pause before another attempt to append a message.
const longestPause = 128 * time.Millisecond

var errBusy = errors.New("JetStream has not finished to store an earlier message")

// Trim implements store.Log.
func (l *log) Trim(ctx context.Context, before store.Pos) error {
	s, err := l.session(ctx)
	if err != nil {
		return err
	}
	if before > store.Pos(l.seen.Load()) { // else there is a message that is as new
		head, err := s.newest(ctx, l.subject)
		if errors.Is(err, store.ErrEmpty) {
			return nil
		}
		if err != nil {
			return err
		}
		before = min(before, head.Pos)
	}
	if before <= 1 {
		return nil // 0 would mean all
	}
	return s.purge(ctx, l.subject, before)
}

const (
	codeWrongLast         = jetstream.JSErrCodeStreamWrongLastSequence
	codeWrongLastConstant = jetstream.JSErrCodeStreamWrongLastSequenceConstant
)

var (
	errPayload     = fmt.Errorf("%w: raise max_payload of the servers", store.ErrTooLarge)
	errMessageSize = fmt.Errorf("%w: raise the stream's limit on the size of a message", store.ErrTooLarge)
)

// append adds a message to a log if its newest one is at after.
func (s *session) append(ctx context.Context, subject string, after store.Pos, data []byte) (store.Pos, error) {
	if int64(len(data)) > s.nc.MaxPayload()-reserved {
		return 0, errPayload
	}
	m := nats.NewMsg(subject)
	m.Data = data
	m.Header.Set(jetstream.ExpectedStreamHeader, s.config.Stream)
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(uint64(after), 10))
	ack, err := s.ask(ctx, m)
	if err != nil {
		if errors.Is(err, nats.ErrMaxPayload) {
			err = errPayload
		}
		return 0, err
	}
	var answer struct {
		apiError
		Stream   string `json:"stream"`
		Sequence uint64 `json:"seq"`
	}
	if err := json.Unmarshal(ack.Data, &answer); err != nil {
		return 0, fmt.Errorf("the answer of JetStream: %w", err)
	}
	if answer.Error != nil {
		switch answer.Error.ErrorCode {
		case codeWrongLast, codeWrongLastConstant:
			return 0, store.ErrConflict
		case jetstream.JSErrCodeStreamMessageExceedsMaximum:
			return 0, errMessageSize
		}
		return 0, explain(answer.Error)
	}
	if answer.Stream != s.config.Stream || answer.Sequence == 0 {
		return 0, fmt.Errorf("%w: something other than the stream %s answers at %s: set another prefix", store.ErrRefused, s.config.Stream, subject)
	}
	return store.Pos(answer.Sequence), nil
}

// newest returns the newest message of a log. The stream's leader answers.
func (s *session) newest(ctx context.Context, subject string) (store.Message, error) {
	return s.get(ctx, &getRequest{Last: subject})
}

// next returns the first message after that place. The stream's leader answers.
func (s *session) next(ctx context.Context, subject string, after store.Pos) (store.Message, error) {
	return s.get(ctx, &getRequest{Next: subject, Seq: uint64(after) + 1})
}

// getRequest asks for messages.
type getRequest struct {
	Seq      uint64 `json:"seq,omitempty"`
	Last     string `json:"last_by_subj,omitempty"`
	Next     string `json:"next_by_subj,omitempty"`
	Batch    int    `json:"batch,omitempty"`
	MaxBytes int    `json:"max_bytes,omitempty"`
}

func (s *session) get(ctx context.Context, request *getRequest) (store.Message, error) {
	var answer struct {
		apiError
		Message struct {
			Sequence uint64 `json:"seq"`
			Data     []byte `json:"data"`
		} `json:"message"`
	}
	err := s.api(ctx, "STREAM.MSG.GET", request, &answer)
	var failure *jetstream.APIError
	if errors.As(err, &failure) && failure.ErrorCode == jetstream.JSErrCodeMessageNotFound {
		err = store.ErrEmpty
	}
	return store.Message{Pos: store.Pos(answer.Message.Sequence), Data: answer.Message.Data}, err
}

// purge drops a log's messages before that place.
func (s *session) purge(ctx context.Context, subject string, before store.Pos) error {
	return s.api(ctx, "STREAM.PURGE", &jetstream.StreamPurgeRequest{Subject: subject, Sequence: uint64(before)}, new(apiError))
}
