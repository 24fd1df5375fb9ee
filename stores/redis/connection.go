package redis

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// connection implements store.Store. It has a pool of connections for commands, and one connection on which the server sends
// what is published.
type connection struct {
	client    *redis.Client
	prefix    string
	age       time.Duration
	listeners *listeners

	ctx     context.Context // done when the connection is closed
	close   context.CancelFunc
	stopped chan struct{}
}

func newConnection(client *redis.Client, prefix string, age time.Duration) *connection {
	c := &connection{client: client, prefix: prefix, age: age, listeners: newListeners(), stopped: make(chan struct{})}
	c.ctx, c.close = context.WithCancel(context.Background())
	return c
}

// Log implements store.Store.
func (c *connection) Log(name string) store.Log {
	return &log{connection: c, key: c.prefix + "log:" + name, channel: c.prefix + "news:" + name}
}

// Presence implements store.Store.
func (c *connection) Presence() store.Presence { return presence{c} }

// Close implements store.Store.
func (c *connection) Close() error {
	c.close()
	err := c.client.Close()
	<-c.stopped
	if errors.Is(err, redis.ErrClosed) {
		return nil
	}
	return err
}

var (
	errClosed = errors.New("the connection to Redis is closed")
	errSilent = errors.New("the server does not answer")
)

// call calls f, which sends a command, and returns its results. Once ctx is done or the connection is closed, it does not wait
// for f: go-redis would wait for the answer until its timeout.
func call[T any](ctx context.Context, c *connection, f func(ctx context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := f(ctx)
		answers <- answer{value, err}
	}()
	select {
	case a := <-answers:
		return a.value, explain(a.err)
	case <-ctx.Done():
		var none T
		if c.ctx.Err() != nil {
			return none, errClosed
		}
		return none, context.Cause(ctx)
	}
}

// retryAfter is the time between a failure of the connection and the next attempt.
const retryAfter = 250 * time.Millisecond

// run keeps the connection up, and reports whether Redis can be used.
func (c *connection) run(report func(error)) {
	defer close(c.stopped)
	said := ""
	for {
		err := c.session(func() {
			said = ""
			report(nil)
		})
		if c.ctx.Err() != nil {
			return
		}
		c.listeners.fail(err)
		// An unreachable server is reported once: its errors have port numbers, so no two are equal. It is not reported after
		// a refusal, because a server that refuses may close the connection before its reason has arrived.
		say := "unavailable"
		if errors.Is(err, store.ErrRefused) {
			say = err.Error()
		} else if said != "" {
			say = said
		}
		if say != said {
			said = say
			report(err)
		}
		select {
		case <-c.ctx.Done():
		case <-time.After(retryAfter):
		}
	}
}

// session checks that Redis can be used and calls up. Then it passes published messages on until the connection fails.
func (c *connection) session(up func()) error {
	if err := c.check(c.ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(c.ctx)
	always := c.prefix + presenceChannel
	published := c.client.Subscribe(ctx, always) // the error comes from Receive
	var heard atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer published.Close()
		cancel(c.steer(ctx, published, &heard, always))
	}()
	defer func() {
		cancel(nil)
		<-done
	}()
	for {
		message, err := published.Receive(ctx)
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return explain(err)
		}
		heard.Store(true)
		switch m := message.(type) {
		case *redis.Subscription:
			if m.Channel == always {
				up()
			} else {
				c.listeners.hear(m.Channel, "") // messages from before the subscription have to be read
			}
		case *redis.Message:
			c.listeners.hear(m.Channel, m.Payload)
		}
	}
}

// On the connection for published messages, the server gets a ping this often. So many pings may stay without an answer.
const (
	pingEvery = time.Second
	mostPings = 1
)

// steer subscribes to the channels that have listeners, and notices when the server is silent. It returns the reason why the
// connection has to end.
func (c *connection) steer(ctx context.Context, published *redis.PubSub, heard *atomic.Bool, always string) error {
	subscribed := map[string]bool{always: true}
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	for pings := 0; ; {
		more, fewer := c.listeners.changes(subscribed, always)
		if len(more) > 0 {
			if err := published.Subscribe(ctx, more...); err != nil {
				return err
			}
		}
		if len(fewer) > 0 {
			if err := published.Unsubscribe(ctx, fewer...); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.listeners.changed:
		case <-ticker.C:
			if pings++; heard.Swap(false) {
				pings = 0
			}
			if pings > mostPings {
				return errSilent
			}
			if err := published.Ping(ctx); err != nil {
				return err
			}
		}
	}
}

// clientLog is the log of go-redis. It writes to Caddy's log.
type clientLog struct{}

func (*clientLog) Printf(_ context.Context, format string, v ...any) {
	caddy.Log().Named("http.sse.stores.redis").Debug("client", zap.String("message", fmt.Sprintf(format, v...)))
}
