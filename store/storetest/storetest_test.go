package storetest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

const largest = 1 << 20

// TestRun runs the suite on an engine in memory.
func TestRun(t *testing.T) {
	e := &engine{logs: make(map[string]*memoryLog), watchers: make(map[chan []byte]struct{})}
	Run(t, largest, func(*testing.T) store.Store {
		c := &connection{engine: e}
		c.ctx, c.cancel = context.WithCancel(context.Background())
		return c
	})
}

type engine struct {
	mu       sync.Mutex
	logs     map[string]*memoryLog
	watchers map[chan []byte]struct{}
}

type memoryLog struct {
	messages []store.Message
	changed  chan struct{}
}

type connection struct {
	*engine
	ctx    context.Context
	cancel context.CancelFunc
}

func (c *connection) Presence() store.Presence { return c }

func (c *connection) Close() error {
	c.cancel()
	return nil
}

func (c *connection) Log(name string) store.Log {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.logs[name] == nil {
		c.logs[name] = &memoryLog{changed: make(chan struct{})}
	}
	return &logConnection{c, c.logs[name]}
}

func (c *connection) Announce(data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for w := range c.watchers {
		select {
		case w <- bytes.Clone(data):
		default:
		}
	}
	return nil
}

func (c *connection) Watch(ctx context.Context, f func([]byte)) error {
	w := make(chan []byte, 10)
	c.mu.Lock()
	c.watchers[w] = struct{}{}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watchers, w)
	}()
	for {
		select {
		case data := <-w:
			f(data)
		case <-ctx.Done():
			return ctx.Err()
		case <-c.ctx.Done():
			return errClosed
		}
	}
}

var errClosed = errors.New("closed")

type logConnection struct {
	*connection
	log *memoryLog
}

// lock locks the engine. It returns an error instead if the context is done or the connection is closed.
func (l *logConnection) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.ctx.Err() != nil {
		return errClosed
	}
	l.mu.Lock()
	return nil
}

func (l *logConnection) head() (store.Message, error) {
	if len(l.log.messages) == 0 {
		return store.Message{}, store.ErrEmpty
	}
	return l.log.messages[len(l.log.messages)-1], nil
}

func (l *logConnection) Head(ctx context.Context) (store.Message, error) {
	if err := l.lock(ctx); err != nil {
		return store.Message{}, err
	}
	defer l.mu.Unlock()
	return l.head()
}

func (l *logConnection) Append(ctx context.Context, after store.Pos, data []byte) (store.Pos, error) {
	if len(data) > largest {
		return 0, store.ErrTooLarge
	}
	if err := l.lock(ctx); err != nil {
		return 0, err
	}
	defer l.mu.Unlock()
	if head, _ := l.head(); head.Pos != after {
		return 0, store.ErrConflict
	}
	l.log.messages = append(l.log.messages, store.Message{Pos: after + 1, Data: bytes.Clone(data)})
	close(l.log.changed)
	l.log.changed = make(chan struct{})
	return after + 1, nil
}

func (l *logConnection) Follow(ctx context.Context, after store.Pos, f func(store.Message) error) error {
	for {
		if err := l.lock(ctx); err != nil {
			return err
		}
		messages, changed := l.log.messages, l.log.changed
		l.mu.Unlock()
		for _, m := range messages {
			if m.Pos <= after {
				continue
			}
			if err := f(m); err != nil {
				return err
			}
			after = m.Pos
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-l.ctx.Done():
			return errClosed
		}
	}
}

func (l *logConnection) Trim(ctx context.Context, before store.Pos) error {
	if err := l.lock(ctx); err != nil {
		return err
	}
	defer l.mu.Unlock()
	for len(l.log.messages) > 1 && l.log.messages[0].Pos < before {
		l.log.messages = l.log.messages[1:]
	}
	return nil
}
