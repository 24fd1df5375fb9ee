package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// log implements store.Log with a Redis stream.
type log struct {
	*connection
	key     string
	channel string // announces new messages
}

// A position is the id of a stream's entry: the milliseconds of the server's clock, and random bits. So a position is never
// used again, even if the server loses the newest messages. A process that knows a lost message cannot take another process's
// message for it.
const randomBits = 20

func toID(pos store.Pos) string {
	return fmt.Sprintf("%d-%d", pos>>randomBits, pos&(1<<randomBits-1))
}

var errForeign = fmt.Errorf("%w: the stream has an entry that is not ours: delete the key, or use another prefix", store.ErrRefused)

func toPos(id string) (store.Pos, error) {
	ms, random, _ := strings.Cut(id, "-")
	high, err := strconv.ParseUint(ms, 10, 64-randomBits)
	if err != nil {
		return 0, errForeign
	}
	low, err := strconv.ParseUint(random, 10, randomBits)
	if err != nil {
		return 0, errForeign
	}
	return store.Pos(high<<randomBits | low), nil
}

// field is the name of an entry's only field.
const field = "d"

// Head implements store.Log.
func (l *log) Head(ctx context.Context) (store.Message, error) {
	return call(ctx, l.connection, func(ctx context.Context) (store.Message, error) {
		entry, err := headScript.Run(ctx, l.client, []string{l.key}).StringSlice()
		if errors.Is(err, redis.Nil) {
			return store.Message{}, store.ErrEmpty
		}
		if err != nil {
			return store.Message{}, err
		}
		return toMessage(entry[0], entry[1:]...)
	})
}

// Append implements store.Log.
func (l *log) Append(ctx context.Context, after store.Pos, data []byte) (store.Pos, error) {
	return l.append(ctx, after, bytes.Clone(data), l.age) // because go-redis may write it after a context is done
}

// largest is the largest size of a message. A larger message would block the server for too long.
const largest = 16 << 20

var (
	errLargest     = fmt.Errorf("%w: no message may be larger than 16 MiB", store.ErrTooLarge)
	errServerLimit = fmt.Errorf("%w: raise the server's proto-max-bulk-len or client-query-buffer-limit", store.ErrTooLarge)
)

func (l *log) append(ctx context.Context, after store.Pos, data []byte, age time.Duration) (store.Pos, error) {
	if len(data) > largest {
		return 0, errLargest
	}
	newest := ""
	if after > 0 {
		newest = toID(after)
	}
	return call(ctx, l.connection, func(ctx context.Context) (store.Pos, error) {
		id, err := appendScript.Run(ctx, l.client, []string{l.key},
			newest, data, rand.IntN(1<<randomBits), age.Milliseconds(), l.channel).Text()
		if errors.Is(err, redis.Nil) {
			return 0, store.ErrConflict
		}
		if err != nil {
			if len(data) > l.serverLimit(ctx) {
				err = errServerLimit
			}
			return 0, err
		}
		return toPos(id)
	})
}

// serverLimit returns the size of the largest argument that the server takes, or largest if that is unknown. At a larger
// argument, the server closes the connection, and its reason may not arrive.
func (l *log) serverLimit(ctx context.Context) int {
	const option = "proto-max-bulk-len"
	config, err := l.client.ConfigGet(ctx, option).Result()
	limit, invalid := strconv.Atoi(config[option])
	if err != nil || invalid != nil {
		return largest
	}
	return limit
}

// pollEvery is how often Follow checks for new messages without a notification.
const pollEvery = time.Second

var errRewound = errors.New("the log has lost the message that was the last one here")

// Follow implements store.Log. A notification only says that there are new messages, and Follow reads them from the stream. So
// no message can be lost between a read and a notification.
func (l *log) Follow(ctx context.Context, after store.Pos, f func(store.Message) error) error {
	news := l.listeners.add(l.channel, 1)
	defer l.listeners.remove(news)
	poll := time.NewTimer(pollEvery)
	defer poll.Stop()
	for {
		last, err := l.read(ctx, after, f)
		if err != nil {
			return err
		}
		if last > after {
			after = last
			poll.Reset(pollEvery)
		}
		for told := false; !told; {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-l.ctx.Done():
				return errClosed
			case <-news.failed: // the next read finds out whether Redis can be reached
				told = true
			case <-news.told:
				told = true
			case <-poll.C:
				poll.Reset(pollEvery)
				if told, err = l.peek(ctx, after); err != nil {
					return err
				}
			}
		}
	}
}

// read calls f for the entries after this position. It returns the position of the last of them.
func (l *log) read(ctx context.Context, after store.Pos, f func(store.Message) error) (store.Pos, error) {
	// The number of entries in one read depends on their size, because an answer must arrive within the timeout.
	const most, enough = 64, 1 << 20
	for count := int64(4); ; {
		entries, err := call(ctx, l.connection, func(ctx context.Context) ([]redis.XMessage, error) {
			return l.client.XRangeN(ctx, l.key, "("+toID(after), "+", count).Result()
		})
		if err != nil {
			return after, err
		}
		size := 0
		for _, entry := range entries {
			value, ok := entry.Values[field].(string)
			if !ok {
				return after, errForeign
			}
			message, err := toMessage(entry.ID, field, value)
			if err != nil {
				return after, err
			}
			if err := f(message); err != nil {
				return after, err
			}
			after, size = message.Pos, size+len(value)
		}
		if int64(len(entries)) < count {
			return after, nil
		}
		if count = min(2*count, most); size > enough {
			count = 1
		}
	}
}

// peek reports whether there are entries after this position.
func (l *log) peek(ctx context.Context, after store.Pos) (bool, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, pollEvery, errSilent)
	defer cancel()
	return call(ctx, l.connection, func(ctx context.Context) (bool, error) {
		n, err := peekScript.Run(ctx, l.client, []string{l.key}, toID(after)).Int()
		if n < 0 {
			err = errRewound
		}
		return n > 0, err
	})
}

// Trim implements store.Log.
func (l *log) Trim(ctx context.Context, before store.Pos) error {
	_, err := call(ctx, l.connection, func(ctx context.Context) (any, error) {
		return nil, trimScript.Run(ctx, l.client, []string{l.key}, toID(before)).Err()
	})
	return err
}

// toMessage returns the message in an entry with this id and these fields and values.
func toMessage(id string, values ...string) (store.Message, error) {
	if len(values) != 2 || values[0] != field {
		return store.Message{}, errForeign
	}
	pos, err := toPos(id)
	return store.Message{Pos: pos, Data: []byte(values[1])}, err
}
