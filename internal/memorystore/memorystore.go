// Package memorystore is a store in this process's memory, for tests. It keeps what package store promises.
package memorystore

import (
	"bytes"
	"context"
	"errors"
	"sync"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// Largest is the size of the largest message that is taken.
const Largest = 1 << 20

// New returns an engine without logs.
func New() *Engine {
	return &Engine{logs: make(map[string]*memoryLog), watchers: make(map[chan []byte]struct{})}
}

// Connect returns a connection.
func (e *Engine) Connect() store.Store {
	c := &connection{Engine: e}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// SetDown has the engine answer nobody, or everybody again. Followers that wait get an error at once.
func (e *Engine) SetDown(down bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = down
	for _, l := range e.logs {
		l.change()
	}
}

// SetLate has those who follow get nothing for now, or all that they have not had.
func (e *Engine) SetLate(late bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.late = late
	for _, l := range e.logs {
		l.change()
	}
}

// Lose takes the newest n messages from each log, as an older copy of the engine's data would. Their places are not given
// again.
func (e *Engine) Lose(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.logs {
		l.messages = l.messages[:max(0, len(l.messages)-n)]
		l.change()
	}
}

// Messages returns how many messages all logs have together.
func (e *Engine) Messages() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.logs {
		n += len(l.messages)
	}
	return n
}

// Engine is a store in memory. Its connections are like those of as many processes.
type Engine struct {
	mu       sync.Mutex
	down     bool
	late     bool
	logs     map[string]*memoryLog
	watchers map[chan []byte]struct{}
}

type memoryLog struct {
	messages []store.Message
	newest   store.Pos // that was ever given
	changed  chan struct{}
}

// change wakes those who follow. The engine is locked.
func (l *memoryLog) change() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// connection is one process's.
type connection struct {
	*Engine
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
	if c.down {
		return errDown
	}
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

var (
	errClosed = errors.New("closed")
	errDown   = errors.New("the store does not answer")
)

// logConnection is a process's view of a log.
type logConnection struct {
	*connection
	log *memoryLog
}

// lock locks the engine, unless the call has to return.
func (l *logConnection) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.ctx.Err() != nil {
		return errClosed
	}
	l.mu.Lock()
	if l.down {
		l.mu.Unlock()
		return errDown
	}
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
	if len(data) > Largest {
		return 0, store.ErrTooLarge
	}
	if err := l.lock(ctx); err != nil {
		return 0, err
	}
	defer l.mu.Unlock()
	if head, _ := l.head(); head.Pos != after {
		return 0, store.ErrConflict
	}
	l.log.newest++
	l.log.messages = append(l.log.messages, store.Message{Pos: l.log.newest, Data: bytes.Clone(data)})
	l.log.change()
	return l.log.newest, nil
}

func (l *logConnection) Follow(ctx context.Context, after store.Pos, f func(store.Message) error) error {
	for {
		if err := l.lock(ctx); err != nil {
			return err
		}
		messages, changed := l.log.messages, l.log.changed
		if l.late {
			messages = nil
		}
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
