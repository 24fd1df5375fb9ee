package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// session is a connection to a server, until it is lost.
type session struct {
	*connection
	nc     *nats.Conn
	closed chan struct{} // closed when nc is

	waiting sync.Mutex
	calls   map[*call]struct{}
}

var (
	errLost    = errors.New("the connection to NATS is lost")
	errChanged = errors.New("the stream has another leader, or is another one")
	errRewound = errors.New("the stream has lost messages")
	errCutOff  = errors.New("the stream's leader does not hear from the other servers")
)

const (
	// lookEvery is how often a session looks whether JetStream answers, and how far the stream is.
	lookEvery = time.Second

	// badFor is how long JetStream may fail until another connection is tried, perhaps to a server that is not cut off. Servers
	// take up to 9 s to find another leader, and presence goes on meanwhile.
	badFor = 10 * time.Second
)

// live is the whole life of a session. It returns why it is over.
func (s *session) live(say func(error)) error {
	defer func() {
		s.set(nil)
		s.mu.Lock()
		if s.discovered = s.nc.DiscoveredServers(); s.nc.TLSRequired() {
			s.discovered = nil // their certificates have other names, perhaps
		}
		s.mu.Unlock()
		s.nc.Close()
		<-s.closed
		s.fail(func(*call) bool { return true }, errLost)
	}()
	return s.run(say)
}

// run looks after the stream until the connection is lost, or NATS refuses.
func (s *session) run(say func(error)) error {
	if err := checkVersion(s.nc.ConnectedServerVersion()); err != nil {
		return err
	}
	if most := s.nc.MaxPayload(); most < leastPayload {
		return fmt.Errorf("%w: raise max_payload of the server to %d or more, it is %d", store.ErrRefused, leastPayload, most)
	}
	var last *jetstream.StreamInfo // nil while JetStream cannot be used
	var failing time.Time
	for {
		info, err := s.look(last == nil)
		switch {
		case s.ctx.Err() != nil:
			return errClosed
		case s.nc.IsClosed():
			return s.reason()
		case errors.Is(err, store.ErrRefused):
			return err
		case err == nil && last == nil:
			s.set(s)
			say(nil)
		case err == nil && changed(last, info):
			s.fail((*call).follows, errChanged)
		case err == nil && info.State.LastSeq < last.State.LastSeq:
			s.fail((*call).follows, errRewound)
		case err != nil && last != nil:
			s.fail((*call).follows, err)
			say(err)
			failing = time.Now()
		case err != nil && failing.IsZero():
			return err
		case err != nil && time.Since(failing) > badFor, errors.Is(err, errCutOff) && time.Since(failing) > silentFor:
			return err
		}
		wait := lookEvery
		if last = info; err != nil {
			last, wait = nil, retryAfter
		} else {
			s.tell(info.State.LastSeq)
		}
		select {
		case <-s.ctx.Done():
		case <-s.closed:
		case <-time.After(wait):
		}
	}
}

// reason returns why the server has closed the connection.
func (s *session) reason() error {
	if err := s.nc.LastError(); err != nil && !errors.Is(err, nats.ErrPermissionViolation) {
		return explain(fmt.Errorf("%w: %w", errLost, err))
	}
	return errLost
}

// look returns what the stream is like. It also checks all rights, and makes the stream, if this is the first time.
func (s *session) look(first bool) (*jetstream.StreamInfo, error) {
	info, err := s.streamInfo(s.ctx, first)
	if err == nil {
		err = s.config.check(&info.Config)
	}
	if err == nil && isCutOff(info.Cluster) {
		err = errCutOff
	}
	if err == nil && first {
		err = s.checkRights(s.ctx)
	}
	return info, err
}

// silentFor is how long a stream's leader may have heard nothing from another server until that one does not count. They
// talk once a second. NATS itself waits for longer until a leader that is cut off is none.
const silentFor = 3 * time.Second

// isCutOff reports whether the stream's leader hears from too few of the others, so that another one may lead by now.
func isCutOff(cluster *jetstream.ClusterInfo) bool {
	if cluster == nil {
		return false
	}
	all, heard := 1, 1
	for _, r := range cluster.Replicas {
		if r.Pending {
			continue // it does not belong to them yet
		}
		if all++; !r.Offline && r.Active < silentFor {
			heard++
		}
	}
	return heard <= all/2
}

// changed reports whether a stream has got another leader, or has been made anew.
func changed(last, info *jetstream.StreamInfo) bool {
	leader := func(info *jetstream.StreamInfo) (name string, since time.Time) {
		if info.Cluster != nil {
			name = info.Cluster.Leader
			if info.Cluster.LeaderSince != nil {
				since = *info.Cluster.LeaderSince
			}
		}
		return name, since
	}
	was, wasSince := leader(last)
	is, since := leader(info)
	return was != is || !wasSince.Equal(since) || !last.Created.Equal(info.Created)
}

// call is a call that waits for the server.
type call struct {
	subject string // for which a right may be missing
	context.Context
	cancel context.CancelCauseFunc
	told   chan uint64 // the last sequence of the stream, if it follows a log
}

func (c *call) follows() bool { return c.told != nil }

// begin notes a call, whose context ends with the session, and when the server says that the right for the subject is missing.
func (s *session) begin(ctx context.Context, subject string, told chan uint64) (*call, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	c := &call{subject, ctx, cancel, told}
	s.waiting.Lock()
	s.calls[c] = struct{}{}
	s.waiting.Unlock()
	if s.nc.IsClosed() {
		cancel(errLost) // it was closed before the call was noted, perhaps
	}
	return c, func() {
		s.waiting.Lock()
		delete(s.calls, c)
		s.waiting.Unlock()
		cancel(nil)
	}
}

// fail ends some calls.
func (s *session) fail(which func(*call) bool, err error) {
	s.waiting.Lock()
	defer s.waiting.Unlock()
	for c := range s.calls {
		if which(c) {
			c.cancel(err)
		}
	}
}

// tell tells those who follow how far the stream is.
func (s *session) tell(last uint64) {
	s.waiting.Lock()
	defer s.waiting.Unlock()
	for c := range s.calls {
		select {
		case c.told <- last:
		default: // it has not looked at the one before yet, or follows nothing
		}
	}
}

// denied ends the calls to which the server has denied something. Of a right that is missing, it says which subject it is about.
func (s *session) denied(err error) {
	switch {
	case errors.Is(err, nats.ErrPermissionViolation):
		text := err.Error()
		answers := strings.Contains(text, `"`+nats.InboxPrefix) // then nobody gets an answer
		s.fail(func(c *call) bool { return answers || strings.Contains(text, strconv.Quote(c.subject)) }, explain(err))
	case errors.Is(err, nats.ErrMaxSubscriptionsExceeded):
		s.fail(func(*call) bool { return true }, explain(err)) // it does not say which one it is
	}
}

// why returns why a call with that context has failed, of which err is what nats.go says.
func (c *call) why(caller context.Context, err error) error {
	if caller.Err() != nil {
		return caller.Err()
	}
	if c.Err() != nil {
		err = context.Cause(c)
	}
	return explain(err)
}

// ask sends a request, and returns the answer.
func (s *session) ask(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	c, end := s.begin(ctx, m.Subject, nil)
	defer end()
	limited, cancel := context.WithTimeout(c, timeout)
	defer cancel()
	answer, err := s.nc.RequestMsgWithContext(limited, m)
	if err != nil {
		return nil, c.why(ctx, err)
	}
	return answer, nil
}

// api sends a request to JetStream. answer may hold an error.
func (s *session) api(ctx context.Context, operation string, request any, answer interface{ error() error }) error {
	data, err := json.Marshal(request)
	if err != nil {
		return err
	}
	m, err := s.ask(ctx, &nats.Msg{Subject: jetstream.DefaultAPIPrefix + operation + "." + s.config.Stream, Data: data})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(m.Data, answer); err != nil {
		return fmt.Errorf("the answer of JetStream: %w", err)
	}
	return explain(answer.error())
}

// apiError is a part of each answer of JetStream.
type apiError struct {
	Error *jetstream.APIError `json:"error"`
}

func (a *apiError) error() error {
	if a.Error == nil {
		return nil
	}
	return a.Error
}
