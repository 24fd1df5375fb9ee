package nats

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// connection implements store.Store. It has one session after the other. nats.go could reconnect by itself, but then calls
// in progress would wait for their time-out, and it would not say why it cannot connect.
type connection struct {
	config  *Store
	subject struct{ log, live, presence string } // what comes before the name of a log, and the subject of presence

	ctx     context.Context // until it is closed
	close   context.CancelFunc
	stopped chan struct{}

	mu         sync.Mutex
	current    *session      // nil while NATS cannot be used
	came       chan struct{} // closed when there is a session
	reason     error         // why there is none
	discovered []string      // servers of which the last one told
}

func newConnection(config *Store) *connection {
	c := &connection{config: config, stopped: make(chan struct{}), came: make(chan struct{})}
	c.subject.log, c.subject.live, c.subject.presence = config.Prefix+".log.", config.Prefix+".live.", config.Prefix+".presence"
	c.ctx, c.close = context.WithCancel(context.Background())
	return c
}

// Log implements store.Store.
func (c *connection) Log(name string) store.Log {
	return &log{connection: c, subject: c.subject.log + name, live: c.subject.live + name}
}

// Presence implements store.Store.
func (c *connection) Presence() store.Presence { return presence{c} }

// Close implements store.Store.
func (c *connection) Close() error {
	c.close()
	<-c.stopped
	return nil
}

var (
	errClosed = errors.New("the connection to NATS is closed")
	errAbsent = errors.New("there is no connection to NATS that can be used")
	errSilent = errors.New("NATS does not answer")
)

const (
	// timeout is how long NATS may take for one answer.
	timeout = 2 * time.Second

	// sessionWithin is how long a call waits for a session.
	sessionWithin = 2 * time.Second

	// retryAfter is how long it takes to try again after a session has failed, and refusedAfter after NATS has refused one:
	// it logs each attempt.
	retryAfter   = 250 * time.Millisecond
	refusedAfter = time.Second
)

// session returns the session, for which it waits a little.
func (c *connection) session(ctx context.Context) (*session, error) {
	var late <-chan time.Time
	for {
		c.mu.Lock()
		s, came := c.current, c.came
		c.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case c.ctx.Err() != nil:
			return nil, errClosed
		case s != nil:
			return s, nil
		case late == nil:
			late = time.After(sessionWithin)
		}
		select {
		case <-ctx.Done():
		case <-c.ctx.Done():
		case <-came:
		case <-late:
			return nil, c.absent()
		}
	}
}

// absent returns an error that says why there is no session.
func (c *connection) absent() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason == nil {
		return errAbsent
	}
	return fmt.Errorf("%w: %w", errAbsent, c.reason)
}

// set says which session can be used: none if it is nil.
func (c *connection) set(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil && s != nil {
		close(c.came)
		c.came = make(chan struct{})
	}
	c.current = s
}

// run keeps up a session, and reports whether NATS can be used.
func (c *connection) run(report func(error)) {
	defer close(c.stopped)
	said := ""
	say := func(err error) {
		// That NATS cannot be reached is said once, as the error may differ each time.
		text := "unavailable"
		switch {
		case c.ctx.Err() != nil:
			return
		case err == nil:
			text = ""
		case errors.Is(err, store.ErrRefused):
			text = err.Error()
		}
		if err == nil || text != said {
			said = text
			report(err)
		}
	}
	for c.ctx.Err() == nil {
		err := c.connect(say)
		c.mu.Lock()
		c.reason = err
		c.mu.Unlock()
		say(err)
		wait := retryAfter
		if errors.Is(err, store.ErrRefused) {
			wait = refusedAfter
		}
		select {
		case <-c.ctx.Done():
		case <-time.After(wait):
		}
	}
}

// connect has a session until it fails.
func (c *connection) connect(say func(error)) error {
	var failed error
	for _, server := range c.servers() {
		s, err := c.open(server)
		if err == nil {
			return s.live(say)
		}
		if !errors.Is(failed, store.ErrRefused) {
			failed = err
		}
	}
	return failed
}

// open connects to a server.
func (c *connection) open(server string) (*session, error) {
	s := &session{connection: c, calls: make(map[*call]struct{}), closed: make(chan struct{})}
	d := &dialer{ctx: c.ctx}
	options := nats.GetDefaultOptions()
	options.Servers = []string{server}
	for _, option := range append([]nats.Option{
		nats.Name("caddy-sse"), nats.NoReconnect(), nats.Timeout(timeout), nats.SetCustomDialer(d), nats.SkipHostLookup(),
		nats.PingInterval(time.Second), nats.MaxPingsOutstanding(2), nats.PermissionErrOnSubscribe(true),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { s.denied(err) }),
		nats.ClosedHandler(func(*nats.Conn) { close(s.closed) }),
	}, c.config.login...) {
		if err := option(&options); err != nil {
			return nil, explain(err)
		}
	}
	var err error
	s.nc, err = options.Connect()
	if errors.Is(err, nats.ErrNoServers) && d.failed != nil {
		err = d.failed // which says more
	}
	if err != nil {
		return nil, explain(fmt.Errorf("%s: %w", server, err))
	}
	return s, nil
}

// servers returns the servers in the order in which to try them: first those that the config names.
func (c *connection) servers() []string {
	servers := slices.Clone(c.config.servers)
	rand.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range rand.Perm(len(c.discovered)) {
		if server := c.discovered[i]; !slices.Contains(servers, server) {
			servers = append(servers, server)
		}
	}
	return servers
}
