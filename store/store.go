// Package store is the interface between the sse handler and engines, such as NATS JetStream or Redis Streams. An engine
// keeps the history of sources, so that several processes share it. The package imports only the standard library.
//
// An engine keeps messages without understanding them. The code above it elects the process that leads a source, gives the
// messages a meaning, and handles missing messages, in the same way for all engines. So an engine promises little:
//
//   - Append is atomic: a message is added only if the newest message is the one that the caller names. Nothing else keeps
//     two processes from writing at the same time, so this must hold at all times.
//   - Messages are kept in order. The newest message is kept until it is older than [Settings].Age. The oldest messages may
//     be dropped, and a crash may lose the newest ones.
//   - Presence may lose, duplicate and reorder messages.
//
// A Caddy module in the namespace http.sse.stores makes an engine available to configs. It implements [Module]. Package
// storetest tests an engine.
package store

import (
	"context"
	"errors"
	"time"
)

// Pos is the position of a message in its log. Later messages have higher positions, which need not be consecutive. 0 is the
// position before the first message.
type Pos uint64

// Message is an entry of a log.
type Message struct {
	Pos  Pos
	Data []byte
}

// Store is a connection to an engine. Many goroutines may use it, and its logs, at the same time.
type Store interface {
	// Log returns the log with this name, which consists of lower-case letters and digits. It opens nothing and does not
	// wait. The engine creates a log when its first message is added.
	Log(name string) Log

	// Presence returns the channel on which the processes at this engine announce themselves to each other.
	Presence() Presence

	// Close closes the connection. All calls in progress return.
	Close() error
}

// Log is the history of one source. Its methods return an error when the context is done, when the connection fails, and
// when the engine does not answer. They may retry, but for no longer than a few seconds.
type Log interface {
	// Head returns the newest message. It asks the primary, not a replica that may be behind. It returns ErrEmpty if the log
	// has no message.
	Head(ctx context.Context) (Message, error)

	// Append adds a message if the newest message is at after, or if after is 0 and the log is empty. It returns the
	// position of the new message once the engine has accepted it for good. It returns ErrConflict if another message is the
	// newest, which may be the result of an earlier attempt to add this one. It returns ErrTooLarge if the engine takes no
	// message of this size. After any other error, the message may have been added, or may be added later.
	Append(ctx context.Context, after Pos, data []byte) (Pos, error)

	// Follow calls f for each message after this position, in order, and leaves out none that the engine keeps. After that,
	// it calls f for each new message soon after it was added. It may call f again for a message that f has already had.
	//
	// If f returns an error, Follow returns it. Follow also returns an error if it may have missed messages for longer than a
	// second, or if the engine may have lost messages, as when the connection fails. The caller then reads the head and
	// follows again.
	Follow(ctx context.Context, after Pos, f func(Message) error) error

	// Trim drops the messages before this position. The newest message stays.
	Trim(ctx context.Context, before Pos) error
}

// Presence carries small messages between the processes at an engine. It does not keep them.
type Presence interface {
	// Announce sends data to the processes that watch, and perhaps to this one. It does not wait for them. Data of up to
	// 256 KiB must arrive as one message.
	Announce(data []byte) error

	// Watch calls f with the data of each announcement until the context is done or the connection fails. It returns the
	// reason.
	Watch(ctx context.Context, f func(data []byte)) error
}

// Errors that the methods of a Log return or wrap.
var (
	ErrEmpty    = errors.New("the log is empty")
	ErrConflict = errors.New("another message is the newest one")
	ErrTooLarge = errors.New("the message is larger than the store takes")

	// ErrRefused says that the engine answers, but that its config or ours must be changed: the credentials are wrong, rights
	// are missing, or a key holds something else. The error that wraps ErrRefused says what the user must change.
	ErrRefused = errors.New("the store refuses")
)

// Settings are the options that all stores have.
type Settings struct {
	// Count, Size and Age bound the history of each source: the number of its records, their bytes, and the time since they
	// arrived.
	Count int
	Size  int64
	Age   time.Duration

	// Lease is the time after which another process takes over a source whose leader is silent.
	Lease time.Duration
}

// The defaults of Settings, and the shortest lease.
const (
	DefaultCount = 4096
	DefaultSize  = 8 << 20
	DefaultAge   = 24 * time.Hour
	DefaultLease = 2500 * time.Millisecond
	MinLease     = time.Second
)

// Module is implemented by a Caddy module in the namespace http.sse.stores. Its methods are called after Caddy has
// provisioned and validated the module.
type Module interface {
	// Key identifies the connection. Modules with equal keys share one connection, which survives config reloads. So the key
	// must differ wherever the options make a difference.
	Key() string

	// Settings returns the options that all stores have, with their defaults.
	Settings() Settings

	// Open returns a connection. It does not wait for the engine, because a config must load without it: the connection is
	// established in the background, and again after a failure. Open returns an error only for options that no engine could
	// satisfy.
	//
	// The connection calls report with nil each time the engine becomes usable, and with the reason, such as ErrRefused, each
	// time it becomes unusable. It does not call report before Open has returned.
	Open(report func(error)) (Store, error)
}
