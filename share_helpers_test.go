package sse_test

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	sse "github.com/seed-4dedbcea/caddy-sse"
	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// hub is an upstream that says the same to all who are connected to it. It is an http.Handler, an Upstream and,
// by its name, `backend test_hub <name>`.
type hub struct {
	name        string
	contentType string
	greeting    string // what each connection gets first

	mu      sync.Mutex
	members map[*member]struct{}
	joins   []join
	refusal error // of those who want to connect
}

// member is one connection to a hub.
type member struct {
	pieces chan string
	end    chan error // nil: a clean end
	gone   chan struct{}
}

// join is what a hub has seen of someone who connected.
type join struct {
	lastID     string
	header     http.Header
	host, path string
}

var hubs sync.Map // by name

func newHub(t testing.TB) *hub {
	u := &hub{name: t.Name(), members: make(map[*member]struct{})}
	hubs.Store(u.name, u)
	t.Cleanup(func() { hubs.Delete(u.name) })
	return u
}

func (u *hub) join(how join) (*member, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.joins = append(u.joins, how)
	if u.refusal != nil {
		return nil, u.refusal
	}
	m := &member{pieces: make(chan string), end: make(chan error), gone: make(chan struct{})}
	u.members[m] = struct{}{}
	return m, nil
}

func (u *hub) leave(m *member) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.members, m)
	close(m.gone)
}

func (u *hub) serve(ctx context.Context, m *member, write func(string) error) error {
	defer u.leave(m)
	if u.greeting != "" {
		if err := write(u.greeting); err != nil {
			return err
		}
	}
	for {
		select {
		case piece := <-m.pieces:
			if err := write(piece); err != nil {
				return err
			}
		case err := <-m.end:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (u *hub) Key() string { return sse.Key("test_hub", u.name) }

func (u *hub) Stream(ctx context.Context, lastID string, sink sse.Sink) error {
	m, err := u.join(join{lastID: lastID})
	if err != nil {
		return err
	}
	in, err := sink.Open(u.contentType)
	if err != nil {
		return err
	}
	return u.serve(ctx, m, func(s string) error { _, err := io.WriteString(in, s); return err })
}

func (u *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m, err := u.join(join{lastID: r.Header.Get("Last-Event-ID"), header: r.Header.Clone(), host: r.Host, path: r.URL.RequestURI()})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", u.contentType)
	if u.contentType == "" {
		w.Header().Set("Content-Type", "application/x-ndjson")
	}
	_ = http.NewResponseController(w).Flush()
	if err := u.serve(r.Context(), m, func(s string) error {
		_, err := io.WriteString(w, s)
		_ = http.NewResponseController(w).Flush()
		return err
	}); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// say sends a piece to all who are connected.
func (u *hub) say(pieces ...string) {
	for _, piece := range pieces {
		for _, m := range u.connected() {
			select {
			case m.pieces <- piece:
			case <-m.gone:
			}
		}
	}
}

// end ends all connections; nil is a clean end.
func (u *hub) end(err error) {
	for _, m := range u.connected() {
		select {
		case m.end <- err:
			<-m.gone
		case <-m.gone:
		}
	}
}

func (u *hub) connected() []*member {
	u.mu.Lock()
	defer u.mu.Unlock()
	var all []*member
	for m := range u.members {
		all = append(all, m)
	}
	return all
}

func (u *hub) joined() []join {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]join(nil), u.joins...)
}

func (u *hub) refuse(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.refusal = err
}

// wait waits until so many are connected.
func (u *hub) wait(t testing.TB, n int) {
	t.Helper()
	ssetest.Wait(t, fmt.Sprintf("%d connections to the upstream", n), func() bool { return len(u.connected()) == n })
}

// waitJoin waits for the n-th connection there has been, and returns it.
func (u *hub) waitJoin(t testing.TB, n int) join {
	t.Helper()
	ssetest.Wait(t, fmt.Sprintf("connection %d to the upstream", n), func() bool { return len(u.joined()) >= n })
	return u.joined()[n-1]
}

var errHub = errors.New("the test says so")

// hubBackend is `backend test_hub <name>`.
type hubBackend struct {
	Name string `json:"hub"`
}

func init() { caddy.RegisterModule(new(hubBackend)) }

func (*hubBackend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: backend.Namespace + ".test_hub", New: func() caddy.Module { return new(hubBackend) }}
}

func (b *hubBackend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	d.NextArg()
	b.Name = d.Val()
	return nil
}

func (b *hubBackend) Bind(*http.Request) (sse.Upstream, error) {
	u, ok := hubs.Load(b.Name)
	if !ok {
		return nil, fmt.Errorf("no hub %q", b.Name)
	}
	return u.(sse.Upstream), nil
}

// sharing starts a Caddy whose streams share a hub: by the backend, or by what next is.
func sharing(t *testing.T, options string) (*ssetest.Server, *hub) {
	t.Helper()
	u := newHub(t)
	return startSharing(t, shared(u, options)), u
}

// startSharing starts a Caddy that leaves no source behind, and checks that it leaves nothing else.
func startSharing(t testing.TB, caddyfile string) *ssetest.Server {
	t.Helper()
	ssetest.NoLeaks(t)
	t.Cleanup(share.CloseAll)
	return ssetest.Start(t, caddyfile)
}

// shared is the config of a site with a hub as its backend; options may have a share block of their own.
func shared(u *hub, options string) string {
	if !strings.Contains(options, "share") {
		options += "\nshare"
	}
	return site("backend test_hub "+u.name+"\ndrain 50ms\n"+options, "")
}

// texts are the data of events.
func texts(events []ssetest.Event) string {
	var all []string
	for _, e := range events {
		all = append(all, e.Data)
	}
	return strings.Join(all, " ")
}

// wantEvents waits for these events, whose data hold no space, and fails the test if they are others.
func wantEvents(t *testing.T, s *ssetest.Stream, want string) []ssetest.Event {
	t.Helper()
	events := s.WaitEvents(len(strings.Fields(want)))
	if got := texts(events); got != want {
		t.Errorf("events %q, want %q\n%s", got, want, s)
	}
	return events
}

// waitOpen waits for the id-only block, by which a stream's place is settled, and returns its id.
func waitOpen(t *testing.T, s *ssetest.Stream) string {
	t.Helper()
	ssetest.Wait(t, "the opening block", func() bool { return s.State().LastEventID != "" })
	return s.State().LastEventID
}

// counted is the value of a counter or gauge.
func counted(t testing.TB, metric prometheus.Metric) float64 {
	t.Helper()
	var m dto.Metric
	if err := metric.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue() + m.GetGauge().GetValue()
}

// theSource is the only one there is.
func theSource(t testing.TB) share.Info {
	t.Helper()
	list := share.List()
	if len(list) != 1 {
		t.Fatalf("%d sources, want 1", len(list))
	}
	return list[0]
}

// hasLagged is whether the stream of that path is behind the history, or was and has ended. No other stream is.
func hasLagged(path string) bool {
	isOpen := slices.ContainsFunc(stream.All(), func(s *stream.Stream) bool { return s.Request.URL.Path == path })
	return !isOpen || slices.ContainsFunc(share.List(), func(s share.Info) bool { return s.Lagged > 0 })
}

// reader is a client that costs next to nothing: it takes numbers, one per event, and notes what is wrong with them.
type reader struct {
	address string
	path    string

	last     string // event id
	next     int    // the number that has to come now; 0: any
	got      int
	lost     int // numbers that did not come
	again    int // numbers that came twice, or in the wrong order
	gaps     int // sse-gap events
	onNumber func(n int)
}

// read reads one response to its end. It returns io.EOF after a clean one.
func (c *reader) read(conn net.Conn) error {
	request := "GET " + c.path + " HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
	if c.last != "" {
		request += "Last-Event-ID: " + c.last + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		return err
	}
	in := bufio.NewReaderSize(conn, 1<<10)
	if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 200 ") {
		return fmt.Errorf("response %q, %w", line, err)
	}
	for {
		if line, err := in.ReadString('\n'); err != nil {
			return err
		} else if line == "\r\n" {
			break
		}
	}
	lines := bufio.NewReaderSize(httputil.NewChunkedReader(in), 1<<10)
	id, kind, data := c.last, "", ""
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch name, value, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), ": "); name {
		case "": // not before is it an event: whoever is cut off in its midst gets it again
			c.last = id
			if data != "" {
				c.event(kind, data)
			}
			kind, data = "", ""
		case "id":
			id = value
		case "event":
			kind = value
		case "data":
			data = cmp.Or(data, value) // its first line is the number
		}
	}
}

func (c *reader) event(kind, data string) {
	if kind == frame.TypeGap {
		c.gaps++
	}
	if kind != "" {
		return
	}
	n, err := strconv.Atoi(data)
	switch {
	case err != nil:
		c.lost++
		return
	case c.next != 0 && n < c.next:
		c.again++
		return
	case c.next != 0 && n > c.next:
		c.lost += n - c.next
	}
	c.next = n + 1
	c.got++
	if c.onNumber != nil {
		c.onNumber(n)
	}
}

// numbers are records from one number to another.
func numbers(from, to int) string {
	var text strings.Builder
	for n := from; n <= to; n++ {
		fmt.Fprintln(&text, n)
	}
	return text.String()
}

// soaking reports whether SSE_SOAK=1 asks for the long runs, with as many clients as the product is made for.
func soaking() bool { return os.Getenv("SSE_SOAK") == "1" }
