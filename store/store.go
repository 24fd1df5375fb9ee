// Package store is what an engine implements that keeps the history of a source for several processes, such as NATS
// JetStream or Redis Streams. It needs the standard library alone.
//
// An engine keeps messages, of which it understands nothing. Who leads a source, what a message means, and what happens
// when messages are missing is decided above it, once for all engines. An engine promises little:
//
//   - Append is atomic: a message is added only if the newest one is the one that the caller names. This is the only thing
//     that keeps two processes from writing at the same time, so that it must be true at all times.
//   - Messages are kept in order. The newest one is kept until its age is over. The oldest ones may be dropped, and a
//     crash may lose the newest ones.
//   - Presence may lose, double and reorder what it carries.
//
// A Caddy module in the namespace http.sse.stores makes an engine usable: it implements Module. Package storetest tests
// an engine.
package store

import (
	"context"
	"errors"
	"time"
)

// Pos is the place of a message in its log. Later messages have higher places, which need not be consecutive. 0 is the
// place before the first message.
type Pos uint64

// Message is an entry of a log.
type Message struct {
	Pos  Pos
	Data []byte
}

// Store is a connection to an engine. Any goroutine may call its methods and those of its logs.
type Store interface {
	// Log returns the log with that name, which consists of lower-case letters and digits. It opens nothing and does not
	// wait. The engine makes a log with its first message.
	Log(name string) Log

	// Presence returns the means by which the processes at this engine tell each other that they are there.
	Presence() Presence

	// Close closes the connection. All calls that are in progress return.
	Close() error
}

// Log is the history of one source. Its methods return an error when the context is done, when the connection fails, and
// when the engine does not answer. They do not retry by themselves for longer than a few seconds.
type Log interface {
	// Head returns the newest message, as the engine's authority has it: not a replica that may be behind. It returns
	// ErrEmpty if there is none.
	Head(ctx context.Context) (Message, error)

	// Append adds a message if the newest one is at after, or if after is 0 and the log is empty. It returns the new
	// message's place once the engine has accepted it for good. It returns ErrConflict if another message is the newest.
	// That may be an earlier attempt at this one. It returns ErrTooLarge if the engine takes no message of that size.
	// After any other error, the message may have been added, or may be added later.
	Append(ctx context.Context, after Pos, data []byte) (Pos, error)

	// Follow calls f for each message after that place, in order and without leaving out any that is kept, and then for
	// each new one soon after it was added. f may be called again for a message it has had. Follow returns the error of f.
	// It also returns an error if it may have missed messages for longer than a second, or if the engine may have lost some, as
	// when the connection is lost: the caller then looks at the head and follows again.
	Follow(ctx context.Context, after Pos, f func(Message) error) error

	// Trim drops the messages before that place. The newest message stays.
	Trim(ctx context.Context, before Pos) error
}

// Presence carries small messages between the processes at an engine, without keeping them.
type Presence interface {
	// Announce sends data to the processes that watch, perhaps also to this one. It does not wait for them. Data of up to
	// 256 KiB is sent whole.
	Announce(data []byte) error

	// Watch calls f for what is announced, until the context is done or the connection fails. It returns why.
	Watch(ctx context.Context, f func(data []byte)) error
}

// Errors of a Log, as errors.Is finds them.
var (
	ErrEmpty    = errors.New("the log is empty")
	ErrConflict = errors.New("another message is the newest one")
	ErrTooLarge = errors.New("the message is larger than the store takes")

	// ErrRefused says that the engine answers, but that it needs a change of its config or of ours: wrong credentials,
	// rights that are missing, a stream of another kind. The error that wraps it names what the user must change.
	ErrRefused = errors.New("the store refuses")
)

// Settings are the options that each store has, whatever its engine.
type Settings struct {
	// Count, Size and Age bound what is kept of each source: records, bytes, and the time since they came.
	Count int
	Size  int64
	Age   time.Duration

	// Lease is how long a process that leads a source may be silent until another one takes over.
	Lease time.Duration
}

// Defaults of Settings, and the shortest lease.
const (
	DefaultCount = 4096
	DefaultSize  = 8 << 20
	DefaultAge   = 24 * time.Hour
	DefaultLease = 2500 * time.Millisecond
	MinLease     = time.Second
)

// Module is what a Caddy module in the namespace http.sse.stores implements. It is provisioned by Caddy, and its options
// are checked, before its methods are called.
type Module interface {
	// Key is equal for modules whose connections do the same. Such modules share one connection, which survives config
	// reloads.
	Key() string

	// Settings returns the options that each store has, with their defaults.
	Settings() Settings

	// Open returns a connection. It does not wait until the engine answers: a config loads without its engine, and the
	// connection is made, and made again, in the background. It returns an error only for options that no engine could
	// satisfy. It calls report with nil each time the engine can be used from then on, and with the reason each time that
	// it cannot, ErrRefused among them. It does not call report before Open has returned.
	Open(report func(error)) (Store, error)
}
