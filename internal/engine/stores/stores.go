// Package stores holds the connections of this process to stores. Configs that name the same store, with the same
// options, share a connection. It survives their reloads.
package stores

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/ratelog"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/fleet"
	"github.com/seed-4dedbcea/caddy-sse/store"
)

// Connection is this process's connection to a store, and its part in the sources that are kept there.
type Connection struct {
	Name string // of the module, such as redis
	Key  string // the same for modules that share the connection
	*fleet.Fleet

	store store.Store
	references

	failures *ratelog.Limiter
	tooLarge *ratelog.Limiter
	refusal  atomic.Pointer[error] // of the newest message of a source that this process leads; nil if it was accepted

	mu     sync.Mutex
	logger *zap.Logger // of the newest config
	err    error       // why the store cannot be used; nil if it can
	known  bool        // whether it can
}

// references count what uses a connection. They are guarded by open.mu.
type references struct {
	refs    int // of configs and sources
	configs int
}

// open holds the connections of this process, by the key of their module.
var open = struct {
	mu    sync.Mutex
	byKey map[string]*Connection
}{byKey: make(map[string]*Connection)}

func init() {
	metrics.PrepareStores([]string{fleet.First, fleet.Expired, fleet.Resigned, fleet.Rewound}, up)
}

// Connect returns the connection to the store of a module with that name. It does not wait for the store. The caller must
// disconnect it.
func Connect(name string, module store.Module, logger *zap.Logger) (*Connection, error) {
	open.mu.Lock()
	defer open.mu.Unlock()
	key := name + " " + module.Key()
	if c := open.byKey[key]; c != nil {
		c.refs++
		c.configs++
		c.mu.Lock()
		c.logger = logger
		c.mu.Unlock()
		return c, nil
	}
	c := &Connection{Name: name, Key: key, references: references{refs: 1, configs: 1}, logger: logger, failures: ratelog.Warnings(), tooLarge: ratelog.Warnings()}
	var err error
	if c.store, err = module.Open(c.report); err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	c.Fleet = fleet.New(c.store, module.Settings(), c)
	open.byKey[key] = c
	return c, nil
}

// Disconnect drops the reference of a config.
func (c *Connection) Disconnect() {
	open.mu.Lock()
	c.configs--
	open.mu.Unlock()
	c.Release()
}

// IsConfigured reports whether a config names the store.
func (c *Connection) IsConfigured() bool {
	open.mu.Lock()
	defer open.mu.Unlock()
	return c.configs > 0
}

// Hold adds a reference to a connection that is not released yet, and returns it.
func (c *Connection) Hold() *Connection {
	open.mu.Lock()
	defer open.mu.Unlock()
	c.refs++
	return c
}

// Release drops a reference. The last one closes the connection.
func (c *Connection) Release() {
	open.mu.Lock()
	c.refs--
	last := c.refs == 0 && open.byKey[c.Key] == c // else a request that was late has held a closed one
	if last {
		delete(open.byKey, c.Key)
	}
	open.mu.Unlock()
	if !last {
		return
	}
	c.Fleet.Close()
	if err := c.store.Close(); err != nil {
		c.log().Debug("closing the store", zap.String("store", c.Name), zap.Error(err))
	}
}

// Err returns why the store cannot be used, nil if it can.
func (c *Connection) Err() error {
	if err := c.reported(); err != nil {
		return err
	}
	if refusal := c.refusal.Load(); refusal != nil {
		return *refusal
	}
	return nil
}

// reported returns what the store itself has reported.
func (c *Connection) reported() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known {
		return errConnecting
	}
	return c.err
}

var errConnecting = errors.New("the store has not answered yet")

// report notes whether the store can be used, and says so once for as long as that lasts.
func (c *Connection) report(err error) {
	c.mu.Lock()
	changed := !c.known || (err == nil) != (c.err == nil) || errors.Is(err, store.ErrRefused) != errors.Is(c.err, store.ErrRefused)
	c.err, c.known = err, true
	c.mu.Unlock()
	said := false // by Appended
	if err != nil {
		said = c.refusal.Swap(nil) != nil && errors.Is(err, store.ErrRefused)
	}
	about := []zap.Field{zap.String("store", c.Name), zap.Error(err)}
	switch {
	case !changed, said:
	case err == nil:
		c.log().Info("store can be used", about[:1]...)
	case errors.Is(err, store.ErrRefused):
		c.log().Error(refuses, about...)
	default:
		c.log().Warn("store cannot be used: trying again", about...)
	}
}

func (c *Connection) log() *zap.Logger {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.logger
}

// up returns, by the name of the module, 1 if all such stores can be used, and 0 otherwise.
func up() map[string]float64 {
	open.mu.Lock()
	defer open.mu.Unlock()
	byName := make(map[string]float64)
	for _, c := range open.byKey {
		if _, known := byName[c.Name]; c.Err() != nil {
			byName[c.Name] = 0
		} else if !known {
			byName[c.Name] = 1
		}
	}
	return byName
}

// Yield has the process, which is about to stop, lead sources only until other processes take them over.
func Yield() {
	open.mu.Lock()
	defer open.mu.Unlock()
	for _, c := range open.byKey {
		c.Fleet.Yield()
	}
}

// The connection as the observer of its fleet.

// Appended implements fleet.Observer.
func (c *Connection) Appended(took time.Duration, err error) {
	result := metrics.AppendUnknown
	switch {
	case err == nil:
		result = metrics.AppendAccepted
		if c.refusal.Swap(nil) != nil {
			c.log().Info("store can be used", zap.String("store", c.Name))
		}
	case errors.Is(err, store.ErrConflict):
		result = metrics.AppendConflict
	case errors.Is(err, store.ErrTooLarge):
		result = metrics.AppendTooLarge
		if ok, dropped := c.tooLarge.Allow(); ok {
			c.log().Warn("record is too large for the store", zap.String("store", c.Name), zap.Error(err), zap.Int("not_logged", dropped))
		}
	case errors.Is(err, store.ErrRefused):
		result = metrics.AppendRefused
		if c.reported() == nil && c.refusal.Swap(&err) == nil {
			c.log().Error(refuses, zap.String("store", c.Name), zap.Error(err))
		}
	}
	metrics.CountAppend(took, result)
}

const refuses = "store refuses: trying again"

// TookOver implements fleet.Observer.
func (c *Connection) TookOver(reason string) {
	metrics.CountTakeover(reason)
	c.log().Debug("taking the upstream of a source over", zap.String("store", c.Name), zap.String("reason", reason))
}

// Leads implements fleet.Observer. A source that is led no more is refused nothing any more.
func (c *Connection) Leads(n int) {
	metrics.CountLeading(n)
	if n < 0 {
		c.refusal.Store(nil)
	}
}

// Fenced implements fleet.Observer.
func (c *Connection) Fenced(records uint64) {
	metrics.CountFenced(records)
	c.log().Info("another process has taken the upstream of a source over", zap.String("store", c.Name), zap.Uint64("records_not_stored", records))
}

// Failed implements fleet.Observer. While the store cannot be used, that is said already.
func (c *Connection) Failed(log string, err error) {
	if c.Err() != nil {
		return
	}
	if ok, dropped := c.failures.Allow(); ok {
		c.log().Warn("store has failed: trying again", zap.String("store", c.Name), zap.String("log", log), zap.Error(err), zap.Int("not_logged", dropped))
	}
}

var _ fleet.Observer = (*Connection)(nil)
