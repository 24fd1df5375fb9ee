package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// engine is a store that does everything to its users that package store allows, and more: it loses answers, stores late,
// rewinds, and sends messages twice, late, or only after a second.
type engine struct {
	mu      sync.Mutex
	rng     *rand.Rand
	msgs    []store.Message
	next    store.Pos
	changed chan struct{}
	conns   []*conn
	down    bool // nobody gets an answer
	calm    bool // no more faults
	lost    int  // how often it has lost messages, after which connections are not what they were
}

func newEngine(rng *rand.Rand) *engine {
	return &engine{rng: rng, changed: make(chan struct{}), next: 1}
}

// chance and delay draw from the seed's random numbers.
func (e *engine) chance(percent int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.calm && e.rng.IntN(100) < percent
}

func (e *engine) delay(most time.Duration) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Duration(e.rng.Int64N(int64(most)))
}

// rewind loses the newest messages. Their places are given again.
func (e *engine) rewind(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n = min(n, len(e.msgs))
	e.lost++
	e.msgs = e.msgs[:len(e.msgs)-n]
	e.next = 1
	if len(e.msgs) > 0 {
		e.next = e.msgs[len(e.msgs)-1].Pos + 1
	}
}

// append adds a message if it may.
func (e *engine) append(after store.Pos, data []byte) (store.Pos, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	newest := store.Pos(0)
	if len(e.msgs) > 0 {
		newest = e.msgs[len(e.msgs)-1].Pos
	}
	if after != newest {
		return 0, false
	}
	e.next += store.Pos(e.rng.IntN(3)) // other logs have messages, too
	e.msgs = append(e.msgs, store.Message{Pos: e.next, Data: data})
	e.next++
	close(e.changed)
	e.changed = make(chan struct{})
	return e.next - 1, true
}

// conn is one process's connection.
type conn struct {
	*engine
	mu       sync.Mutex
	cut      bool // from the engine
	deaf     bool // from the other processes
	dead     bool
	watchers []func([]byte)
}

func (e *engine) connect() *conn {
	c := &conn{engine: e}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conns = append(e.conns, c)
	return c
}

func (c *conn) set(f func(*conn)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c)
}

var errAway = errors.New("the engine does not answer")

// reach waits as long as a call takes, and returns an error if the engine cannot be reached.
func (c *conn) reach(ctx context.Context) error {
	if !pause(ctx, c.delay(8*time.Millisecond)) {
		return ctx.Err()
	}
	c.mu.Lock()
	away := c.cut || c.dead
	c.mu.Unlock()
	c.engine.mu.Lock()
	away = away || c.engine.down
	c.engine.mu.Unlock()
	if away {
		pause(ctx, 200*time.Millisecond+c.delay(500*time.Millisecond))
		return errAway
	}
	return nil
}

func (c *conn) Log(string) store.Log     { return c }
func (c *conn) Presence() store.Presence { return c }
func (c *conn) Close() error             { return nil }

func (c *conn) Head(ctx context.Context) (store.Message, error) {
	if err := c.reach(ctx); err != nil {
		return store.Message{}, err
	}
	if c.chance(3) {
		return store.Message{}, errAway
	}
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	if len(c.msgs) == 0 {
		return store.Message{}, store.ErrEmpty
	}
	return c.msgs[len(c.msgs)-1], nil
}

const largest = 4 << 10

func (c *conn) Append(ctx context.Context, after store.Pos, data []byte) (store.Pos, error) {
	if err := c.reach(ctx); err != nil {
		return 0, err
	}
	switch {
	case len(data) > largest:
		return 0, store.ErrTooLarge
	case c.chance(2): // lost on its way
		return 0, errAway
	case c.chance(2): // stored later, if at all
		time.AfterFunc(c.delay(300*time.Millisecond), func() { c.append(after, data) })
		return 0, errAway
	}
	pos, ok := c.append(after, data)
	switch {
	case c.chance(3): // the answer is lost
		return 0, errAway
	case !ok:
		return 0, store.ErrConflict
	}
	return pos, nil
}

func (c *conn) Follow(ctx context.Context, after store.Pos, f func(store.Message) error) error {
	c.engine.mu.Lock()
	lost := c.lost
	c.engine.mu.Unlock()
	for {
		if err := c.reach(ctx); err != nil {
			return err
		}
		c.engine.mu.Lock()
		if c.lost != lost {
			c.engine.mu.Unlock()
			return errAway
		}
		var news []store.Message
		for _, m := range c.msgs {
			if m.Pos > after {
				news = append(news, m)
			}
		}
		changed := c.changed
		c.engine.mu.Unlock()
		for _, m := range news {
			for range 1 + c.count(5) {
				if err := f(m); err != nil {
					return err
				}
			}
			after = m.Pos
		}
		if c.chance(1) {
			return errAway
		}
		if len(news) > 0 {
			continue
		}
		if c.chance(5) { // what comes now is noticed a second later
			pause(ctx, time.Second)
			continue
		}
		select {
		case <-changed:
		case <-time.After(time.Second): // as an engine does, which may have lost what was sent
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// count is 1 now and then, and 0 otherwise.
func (c *conn) count(percent int) int {
	if c.chance(percent) {
		return 1
	}
	return 0
}

func (c *conn) Trim(ctx context.Context, before store.Pos) error {
	if err := c.reach(ctx); err != nil {
		return err
	}
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	for len(c.msgs) > 1 && c.msgs[0].Pos < before {
		c.msgs = c.msgs[1:]
	}
	return nil
}

func (c *conn) isDeaf() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deaf || c.dead
}

func (c *conn) Announce(data []byte) error {
	c.engine.mu.Lock()
	conns := append([]*conn(nil), c.conns...)
	c.engine.mu.Unlock()
	if c.isDeaf() {
		return nil
	}
	for _, to := range conns {
		for range 1 + c.count(5) - c.count(10) {
			time.AfterFunc(c.delay(30*time.Millisecond), func() {
				if to.isDeaf() {
					return
				}
				to.mu.Lock()
				watchers := to.watchers
				to.mu.Unlock()
				for _, w := range watchers {
					w(data)
				}
			})
		}
	}
	return nil
}

func (c *conn) Watch(ctx context.Context, f func([]byte)) error {
	c.set(func(c *conn) { c.watchers = []func([]byte){f} })
	<-ctx.Done()
	c.set(func(c *conn) { c.watchers = nil })
	return ctx.Err()
}
