package share

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/history"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// page is a response that a test reads while it is written.
type page struct {
	header http.Header
	mu     sync.Mutex
	body   []byte
}

func (p *page) Header() http.Header              { return p.header }
func (p *page) WriteHeader(int)                  {}
func (p *page) FlushError() error                { return nil }
func (p *page) SetWriteDeadline(time.Time) error { return nil }

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.body = append(p.body, b...)
	return len(b), nil
}

// wants waits for these data of events.
func (p *page) wants(t *testing.T, want string) {
	t.Helper()
	ssetest.Wait(t, "the events "+want, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		var got []string
		for line := range strings.Lines(string(p.body)) {
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				got = append(got, strings.TrimSuffix(data, "\n"))
			}
		}
		return strings.Join(got, " ") == want
	})
}

// visit opens a stream of an upstream. leave ends it.
func visit(t *testing.T, c *Server, u backend.Upstream) (p *page, leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p = &page{header: make(http.Header)}
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), p, &caddyhttp.Server{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Serve(p, r, u); err != nil {
			t.Error(err)
		}
	}()
	leave = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(leave)
	return p, leave
}

// speaker is an upstream that says what a test says.
type speaker chan string

func (speaker) Key() string { return "speaker" }

func (u speaker) Stream(ctx context.Context, _ string, sink backend.Sink) error {
	in, err := sink.Open("")
	if err != nil {
		return err
	}
	for {
		select {
		case text := <-u:
			if _, err := io.WriteString(in, text); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// theOnlySource is the one that there is.
func theOnlySource(t *testing.T) *source {
	t.Helper()
	list := sources.list()
	if len(list) != 1 {
		t.Fatalf("%d sources, want 1", len(list))
	}
	return list[0]
}

// While the records of a read are mapped, which may take as long as an expression does, nobody waits but the upstream.
func TestAReadThatTakesLongHoldsUpNeitherOtherClientsNorTheAdminAPI(t *testing.T) {
	ssetest.NoLeaks(t)
	t.Cleanup(CloseAll)
	c, u := testServer(t, func(c *Config) { c.Replay = 1 }), make(speaker)
	first, _ := visit(t, c, u)
	u <- "1\n"
	first.wants(t, "1")
	src := theOnlySource(t)
	src.mapping.Lock()
	unlock := sync.OnceFunc(src.mapping.Unlock)
	defer unlock() // or the source could not end, if somebody has to wait
	second, leave := visit(t, c, u)
	second.wants(t, "1")
	ssetest.Within(t, "the admin API", func() {
		if got := src.info().Records; got != 1 {
			t.Errorf("the admin API shows %d records, want 1", got)
		}
	})
	leave()
	ssetest.Wait(t, "one stream", func() bool { return src.info().Streams == 1 })
	unlock()
	u <- "2\n"
	first.wants(t, "1 2")
}

func TestClientsGetEventsWhileAnotherMappingIsMadeOfALongHistory(t *testing.T) {
	ssetest.NoLeaks(t)
	t.Cleanup(CloseAll)
	maps := func(data string) *Server {
		return testServer(t, func(c *Config) { c.Mapping, c.Replay = testMapping(t, data), 9 })
	}
	a, b, u := maps("a{record}"), maps("b{record}"), make(speaker)
	first, _ := visit(t, a, u)
	u <- "1\n"
	first.wants(t, "a1")
	src := theOnlySource(t)
	src.making.Lock()
	unlock := sync.OnceFunc(src.making.Unlock)
	defer unlock()
	other, _ := visit(t, b, u)
	u <- "2\n"
	first.wants(t, "a1 a2")
	again, _ := visit(t, a, u)
	again.wants(t, "a1 a2")
	unlock()
	other.wants(t, "b1 b2")
}

// A feed is made while the upstream goes on; the records that come meanwhile are in it once, too.
func TestAMappingThatIsNewGetsEachRecordOnceWhileTheUpstreamGoesOn(t *testing.T) {
	config := func(data string, kept int) *Server {
		return testServer(t, func(c *Config) {
			c.Mapping, c.Kept = testMapping(t, data), history.Limits{Count: kept, Size: 1 << 30}
		})
	}
	for _, kept := range []int{100, 20_000} {
		src := newSource(config("{record}", kept), "", nil)
		in := upstream.NewInput(src, src.server.Upstream.Options(""), nil)
		stop := make(chan struct{})
		var speaking sync.WaitGroup
		speaking.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
					_, _ = in.Write([]byte("x\nx\nx\n"))
				}
			}
		})
		for i := range 20 {
			f := src.feedFor(config(fmt.Sprint(i)+" {record}", kept), 1)
			ssetest.Wait(t, "records", func() bool { return f.frames.Stats().Events > kept/2 })
			reader := f.frames.Subscribe(f.frames.Oldest(), idle{})
			var last uint64
			for entries, state, _ := reader.NextEntries(nil); state == history.Ready; entries, state, _ = reader.NextEntries(nil) {
				for _, e := range entries {
					if last != 0 && e.Seq != last+1 {
						t.Fatalf("record %d follows %d", e.Seq, last)
					}
					last = e.Seq
				}
				if last > uint64(kept) {
					break
				}
			}
			reader.Close()
			src.leave(f)
		}
		close(stop)
		speaking.Wait()
	}
}
