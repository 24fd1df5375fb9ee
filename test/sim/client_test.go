package sim_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// client is a client that reads, stalls, leaves and reconnects.
type client struct {
	*simulation
	who      who
	role     string
	protocol string
	random   *rand.Rand

	mu       sync.Mutex
	path     string
	follower *follower
	grammar  *grammar
	parser   *ssetest.Parser
	last     string // the last id
	reading  bool
	trail    []string // its last actions
}

// silence is how long a stream may be silent. Streams send something each second, but the machine may be busy.
const silence = 90 * time.Second

func (s *simulation) client(i int) *client {
	random := s.plan.random("client", i)
	c := &client{
		simulation: s, random: random, protocol: ssetest.Protocols[i%len(ssetest.Protocols)],
		who:  who{name: fmt.Sprintf("c%d", i), kind: pick(random, kinds...), scheme: "https"},
		role: pick(random, "", "", "admin"),
	}
	if c.protocol == "h1" || c.protocol == "h2c" {
		c.who.scheme = "http"
	}
	c.follower = s.follow(c.who, c.role, s.config)
	return c
}

// transport returns a transport with small buffers, so that a client that stalls is soon behind.
func transport(protocol string) (t http.RoundTripper, closeIdle, closeAll func()) {
	const buffer = 16 << 10
	anyCertificate := &tls.Config{InsecureSkipVerify: true}
	if protocol == "h3" {
		t := &http3.Transport{TLSClientConfig: anyCertificate, DisableCompression: true, QUICConfig: &quic.Config{
			InitialStreamReceiveWindow: buffer, MaxStreamReceiveWindow: buffer,
		}}
		return t, t.CloseIdleConnections, func() { _ = t.Close() }
	}
	dialer := &net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { setReadBuffer(fd, buffer) })
	}}
	tcp := &http.Transport{
		TLSClientConfig: anyCertificate, DisableCompression: true, Protocols: new(http.Protocols), DialContext: dialer.DialContext,
		IdleConnTimeout: time.Second, // for a connection that is established after its request was canceled
		HTTP2:           &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10},
	}
	switch protocol {
	case "h2c":
		tcp.Protocols.SetUnencryptedHTTP2(true)
	case "h2":
		tcp.Protocols.SetHTTP2(true)
	default:
		tcp.Protocols.SetHTTP1(true)
	}
	return tcp, tcp.CloseIdleConnections, tcp.CloseIdleConnections
}

// live runs the client until ctx ends.
func (c *client) live(ctx context.Context, paths []string) {
	round, closeIdle, closeAll := transport(c.protocol)
	defer closeAll()
	if c.protocol == "h3" {
		// reverse_proxy in Caddy 2.11.9 has a data race if it passes on the request of an HTTP/3 client: it reads the trailers
		// of the body while net/http, which probes the body, sets them.
		paths = slices.DeleteFunc(slices.Clone(paths), func(path string) bool { return path == "/direct" || path == "/live" })
	}
	for ctx.Err() == nil {
		c.mu.Lock()
		if fresh := c.random.IntN(12) == 0; c.path == "" || fresh && !c.isQuiet() {
			c.path, c.last = pick(c.random, paths...), ""
			if c.random.IntN(2) == 0 {
				closeIdle()
			}
			c.follower.forget()
			c.note("begins anew")
		}
		c.mu.Unlock()
		if err := c.visit(ctx, round); err != nil {
			c.mu.Lock()
			c.report(err)
			c.mu.Unlock()
			return
		}
		pause := time.Duration(c.random.IntN(200)) * time.Millisecond
		if c.random.IntN(20) == 0 && !c.isQuiet() {
			pause += 2 * time.Second
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (c *client) isQuiet() bool {
	select {
	case <-c.staying:
		return true
	default:
		return false
	}
}

func (c *client) note(format string, args ...any) {
	c.trail = append(c.trail, time.Since(c.began).Round(time.Millisecond).String()+" "+fmt.Sprintf(format, args...))
	if len(c.trail) > 14 {
		c.trail = slices.Delete(c.trail, 0, 1)
	}
}

func (c *client) report(err error) {
	text := fmt.Sprintf("client %s, %s, role %q, %s: %v", c.who.query(), c.protocol, c.role, c.path, err)
	if r := c.follower.seen; r != nil {
		text += fmt.Sprintf("\n  route %+v, mapping %s", *r, r.mapping.name)
	}
	for _, line := range c.trail {
		text += "\n  " + line
	}
	if c.grammar != nil {
		text += fmt.Sprintf("\n  last bytes: %q", c.grammar.tail[max(0, len(c.grammar.tail)-800):])
	}
	c.violation(text)
}

// visit makes one request and reads its response.
func (c *client) visit(ctx context.Context, round http.RoundTripper) error {
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	address := c.server.URL(c.protocol, c.path) + "?" + c.who.query()
	byQuery := c.last != "" && c.random.IntN(5) < 2
	if byQuery {
		address += "&lastEventId=" + url.QueryEscape(c.last)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "text/event-stream")
	if c.last != "" && !byQuery {
		request.Header.Set("Last-Event-ID", c.last)
	}
	if c.role != "" {
		request.Header.Set("X-Role", c.role)
	}
	if coding := pick(c.random, "", "zstd", "gzip", "gzip, zstd"); coding != "" {
		request.Header.Set("Accept-Encoding", coding)
	}
	patience := time.AfterFunc(silence, func() { leave(errSilent) })
	defer patience.Stop()
	response, err := round.RoundTrip(request)
	if err != nil {
		if errors.Is(context.Cause(ctx), errSilent) {
			return fmt.Errorf("no response within %s", silence)
		}
		c.count("refused connections", 1)
		return nil // the listener is closing
	}
	body := ssetest.Decoded(response)
	defer body.Close()
	generation, _ := strconv.Atoi(response.Header.Get("X-Generation"))
	r := find(c.config(generation), c.path, c.role)

	if latest, since := c.latest(); generation < latest && since > 5*time.Second {
		c.count("late answers of an old config "+c.protocol, 1)
	}
	c.mu.Lock()
	c.note("generation %d, last id %q (in the query: %t), status %d", generation, c.last, byQuery, response.StatusCode)
	c.mu.Unlock()
	switch {
	case response.StatusCode >= http.StatusBadGateway && response.StatusCode <= http.StatusGatewayTimeout:
		c.count(fmt.Sprint("status ", response.StatusCode), 1)
		return nil
	case r == nil:
		return fmt.Errorf("no route of generation %d, and status %d", generation, response.StatusCode)
	case response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream":
		return fmt.Errorf("status %d, header %v", response.StatusCode, response.Header)
	}
	c.mu.Lock()
	c.follower.open(generation, r)
	c.grammar, c.parser, c.reading = new(grammar), &ssetest.Parser{LastEventID: c.last}, true
	c.mu.Unlock()
	c.count("streams", 1)
	if coding := response.Header.Get("Content-Encoding"); coding != "" {
		c.count("streams in "+coding, 1)
	}
	err = c.read(ctx, leave, body, patience)
	c.mu.Lock()
	c.reading = false
	c.mu.Unlock()
	return err
}

var (
	errSilent = errors.New("the stream is silent")
	errLeft   = errors.New("the client leaves")
)

// read reads until the response ends or the client leaves.
func (c *client) read(ctx context.Context, leave func(error), body io.Reader, patience *time.Timer) error {
	life := time.Duration(c.random.ExpFloat64() * float64(3*time.Second))
	afterBytes, stall := -1, -1
	switch c.random.IntN(5) {
	case 0:
		afterBytes = c.random.IntN(1 << c.random.IntN(16))
	case 1:
		stall = c.random.IntN(20_000)
	}
	if c.path == "/fat" && c.random.IntN(2) == 0 { // so that it is soon behind
		stall = c.random.IntN(100_000)
	}
	died := time.AfterFunc(life, func() {
		if !c.isQuiet() {
			leave(errLeft)
		}
	})
	defer died.Stop()
	buffer := make([]byte, 1+c.random.IntN(1<<(4+c.random.IntN(11))))
	if c.path == "/fat" {
		buffer = make([]byte, 1<<10)
	}
	for total := 0; ; {
		patience.Reset(silence)
		n, err := body.Read(buffer)
		c.mu.Lock()
		total += n
		problem := c.take(buffer[:n])
		c.mu.Unlock()
		if problem != nil {
			return problem
		}
		if err != nil {
			return c.ended(ctx, err)
		}
		if afterBytes >= 0 && total >= afterBytes && !c.isQuiet() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.note("left after %d bytes", total)
			return nil
		}
		if stall >= 0 && total >= stall {
			stall = -1
			patience.Stop()
			pause := time.Duration(c.random.IntN(4000)) * time.Millisecond
			c.mu.Lock()
			c.note("stalls for %s after %d bytes", pause, total)
			c.mu.Unlock()
			select {
			case <-ctx.Done():
			case <-c.staying:
			case <-time.After(pause):
			}
		}
	}
}

// take checks the next bytes.
func (c *client) take(p []byte) error {
	if err := c.grammar.feed(p); err != nil {
		return err
	}
	// The bytes are parsed line by line, so that the last id is known after each event.
	for line := range bytes.Lines(p) {
		for _, e := range c.parser.Feed(line) {
			c.count("events", 1)
			if err := c.follower.event(e); err != nil {
				return err
			}
		}
		if id := c.parser.LastEventID; id != c.last && id != "" {
			c.last = id
			c.follower.position(id)
		}
	}
	if len(c.parser.Ignored) > 0 {
		return fmt.Errorf("lines that mean nothing: %q", c.parser.Ignored)
	}
	c.parser.Comments = c.parser.Comments[:0]
	return nil
}

// ended checks how the response has ended.
func (c *client) ended(ctx context.Context, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	inside := c.grammar.inside()
	c.note("ended with %v, within an event: %t", err, inside)
	switch {
	case errors.Is(context.Cause(ctx), errSilent):
		return fmt.Errorf("nothing came within %s", silence)
	case ctx.Err() != nil:
		return nil
	case err != io.EOF:
		c.count("broken", 1)
		return nil
	case inside:
		return fmt.Errorf("a clean end within an event")
	case c.follower.failed:
		return fmt.Errorf("a clean end after sse-error")
	}
	c.count("ended", 1)
	return nil
}

// settled reports whether the client has received all records.
func (c *client) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reading && c.follower.settled()
}
