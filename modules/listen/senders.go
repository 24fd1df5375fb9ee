package listen

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"go.uber.org/zap"
)

const (
	// maxSenders is the most connections at a time.
	maxSenders = 1024

	// idleTimeout is the time after which a silent connection is closed. It is long, because a healthy sender may have nothing to
	// send for hours, and records sent to a closed connection are lost. A lost sender is detected earlier: over TCP by
	// keep-alives (2.5 minutes), on a unix socket by the kernel at once.
	idleTimeout = 24 * time.Hour
)

// senders are the connections to a socket.
type senders struct {
	sink backend.Sink
	idle time.Duration
	warn func(message string, fields ...zap.Field)
	fail context.CancelCauseFunc // closes all connections

	began time.Time
	wg    sync.WaitGroup
	slots chan struct{} // has a value for each connection
	mu    sync.Mutex
	all   map[*sender]struct{}
}

func newSenders(sink backend.Sink, idle time.Duration, warn func(string, ...zap.Field), fail context.CancelCauseFunc) *senders {
	return &senders{
		sink: sink, idle: idle, warn: warn, fail: fail,
		began: time.Now(), slots: make(chan struct{}, maxSenders), all: make(map[*sender]struct{}),
	}
}

// accept accepts connections until ctx ends, which closes the listener.
func (s *senders) accept(ctx context.Context, listener net.Listener) error {
	defer s.wg.Wait()
	defer s.closeAll()
	// This input has no connection. It shows that the upstream is open before any sender connects.
	if _, err := s.sink.Open(""); err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		switch {
		case err == nil:
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return err
		default: // a temporary error, such as too many open files
			s.warn("accepting a connection failed", zap.Error(err))
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		if err := s.makeRoom(ctx); err != nil {
			conn.Close()
			return err
		}
		from := s.add(conn)
		s.wg.Go(func() {
			defer s.remove(from)
			if err := s.take(from); err != nil {
				s.fail(err)
			}
		})
	}
}

// makeRoom takes a slot. If there is none, it closes the connection that has been silent for the longest time.
func (s *senders) makeRoom(ctx context.Context) error {
	select {
	case s.slots <- struct{}{}:
		return nil
	default:
	}
	if silent := s.longestSilent(); silent != nil {
		s.warn("connection closed to make room for another", zap.Int("connections", maxSenders), zap.Duration("silent", silent.silence()))
		silent.Close()
	}
	// The last bytes of that connection may wait for a busy source. Then the new connection waits, too.
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *senders) longestSilent() *sender {
	s.mu.Lock()
	defer s.mu.Unlock()
	var longest *sender
	for from := range s.all {
		if longest == nil || from.heard.Load() < longest.heard.Load() {
			longest = from
		}
	}
	return longest
}

// take reads records from one connection. A failure of the connection does not affect the others. The returned error is the sink's.
func (s *senders) take(from *sender) error {
	input, err := s.sink.Open("")
	if err != nil {
		return err
	}
	w := &backend.Writer{To: input}
	err = backend.Copy(w, from, backend.ReadSize)
	if w.Err != nil {
		return w.Err
	}
	return input.End(err == nil)
}

func (s *senders) add(conn net.Conn) *sender {
	from := &sender{Conn: conn, idle: s.idle, began: s.began}
	from.hear()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[from] = struct{}{}
	return from
}

func (s *senders) remove(from *sender) {
	from.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, from)
	<-s.slots
}

func (s *senders) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for from := range s.all {
		from.Close()
	}
}

// sender is a connection that measures its silence.
type sender struct {
	net.Conn
	idle  time.Duration
	began time.Time    // the start of the time in heard, on the monotonic clock
	heard atomic.Int64 // when its last bytes arrived
}

func (s *sender) Read(p []byte) (int, error) {
	if err := s.SetReadDeadline(time.Now().Add(s.idle)); err != nil {
		return 0, err
	}
	n, err := s.Conn.Read(p)
	if n > 0 {
		s.hear()
	}
	return n, err
}

func (s *sender) hear() { s.heard.Store(int64(time.Since(s.began))) }

func (s *sender) silence() time.Duration { return time.Since(s.began) - time.Duration(s.heard.Load()) }
