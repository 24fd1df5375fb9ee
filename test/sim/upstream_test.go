package sim_test

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// upstreams send records to each connection until they must be quiet.
type upstreams struct {
	plan   plan
	ledger *ledger
	busy   float64
	quiet  chan struct{} // closed when no more records are sent, and no connection ends

	mu     sync.Mutex
	visits map[string]int
}

// ending says how a connection ends.
type ending int

const (
	held    ending = iota // the other side ends it
	clean                 // the upstream ends it cleanly
	aborted               // the upstream breaks it off, perhaps in the middle of a record
)

// speaker sends the records of one connection.
type speaker struct {
	*upstreams
	conn   *connection
	random *rand.Rand
	n      int // the number of the last record
	left   int // how many records are left
	write  func(string) error
	events bool // as an event stream
	breaks bool // it can break off so that the other side notices
}

// speaker returns the speaker for a new connection that resumes after lastID.
func (u *upstreams) speaker(tag, family, lastID string) *speaker {
	s := &speaker{upstreams: u}
	u.mu.Lock()
	u.visits[tag+" "+family]++
	visit := u.visits[tag+" "+family]
	u.mu.Unlock()
	s.random = u.plan.random("upstream", tag, family, visit)
	s.left = int(s.random.ExpFloat64() * 400)
	if behaves(tag, fat) {
		s.left *= 10
	}
	if behaves(tag, resumes) || behaves(tag, resumesMapped) {
		s.conn = u.ledger.log(tag, family)
		s.n = int(s.conn.said.Load())
		if id, n, ok := parseID(lastID); ok && id == s.conn.id {
			s.n = n
		}
	} else {
		s.conn = u.ledger.connect(tag, family)
	}
	s.events = behaves(tag, resumes)
	return s
}

// next returns the text of the next record.
func (s *speaker) next() string {
	s.n++
	s.left--
	s.conn.say(s.n)
	r := record{s.conn.tag, s.conn.id, s.n}
	if !s.events {
		return r.text() + pick(s.random, "\n", "\n", "\n", "\r\n")
	}
	return "id: " + r.id() + "\ndata: " + r.text() + "\n\n"
}

// speak sends records until the connection or ctx ends.
func (s *speaker) speak(ctx context.Context) ending {
	for {
		burst := pick(s.random, 1, 1, 1, 2, 5, 20)
		if s.random.IntN(60) == 0 {
			burst = 300
		}
		if behaves(s.conn.tag, fat) && s.random.IntN(15) == 0 {
			burst = 100
		}
		var text strings.Builder
		for range burst {
			text.WriteString(s.next())
		}
		if err := s.inPieces(text.String()); err != nil {
			return held
		}
		if !behaves(s.conn.tag, calm) && s.left < 0 {
			return s.end()
		}
		if s.random.IntN(10) == 0 && s.write(map[bool]string{false: "\n", true: ":\n"}[s.events]) != nil {
			return held
		}
		pause := time.Duration(s.random.ExpFloat64() * float64(60*time.Millisecond) / s.busy)
		if behaves(s.conn.tag, fat) {
			pause /= 4
		}
		if s.random.IntN(100) == 0 {
			pause += time.Second
		}
		select {
		case <-ctx.Done():
			return held
		case <-s.quiet:
			s.catchUp()
			<-ctx.Done()
			return held
		case <-time.After(pause):
		}
	}
}

// catchUp sends the records that another connection to the same log has sent already.
func (s *speaker) catchUp() {
	for int64(s.n) < s.conn.said.Load() {
		if s.write(s.next()) != nil {
			return
		}
	}
}

// end ends the connection.
func (s *speaker) end() ending {
	whole := s.random.IntN(2) == 0 || behaves(s.conn.tag, ends) || !s.breaks
	half := s.random.IntN(2) == 0
	switch {
	case whole && half && !s.events:
		if s.write(strings.TrimRight(s.next(), "\r\n")) != nil { // a last record without its line end counts
			return held
		}
	case !whole && half:
		text := record{s.conn.tag, s.conn.id, s.n + 1}.text()
		if s.events {
			text = "data: " + text
		}
		if s.write(text[:s.random.IntN(len(text))]) != nil {
			return held
		}
	}
	if whole {
		return clean
	}
	return aborted
}

// inPieces writes text in pieces of random sizes.
func (s *speaker) inPieces(text string) error {
	for s.random.IntN(3) == 0 && len(text) > 1 {
		cut := 1 + s.random.IntN(len(text)-1)
		if err := s.write(text[:cut]); err != nil {
			return err
		}
		text = text[cut:]
	}
	return s.write(text)
}

// ServeHTTP is the upstream for backend http and for reverse_proxy.
func (u *upstreams) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tag := cmp.Or(r.Header.Get("X-Tag"), r.URL.Query().Get("tag"))
	family := cmp.Or(r.Header.Get("X-Family"), r.URL.Query().Get("family"))
	// If the route is not shared, the upstream gets the client's query.
	s := u.speaker(tag, family, cmp.Or(r.Header.Get("Last-Event-ID"), r.URL.Query().Get("lastEventId")))
	s.breaks = true
	flush := http.NewResponseController(w).Flush
	s.write = func(text string) error {
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
		return flush()
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	if s.events {
		w.Header().Set("Content-Type", "text/event-stream")
	}
	if flush() == nil && s.speak(r.Context()) == aborted {
		panic(http.ErrAbortHandler)
	}
}

// listen serves backend dial, which sends its request in one line.
func (u *upstreams) listen(t testing.TB) (address string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { u.serve(ctx, conn) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = listener.Close()
		serving.Wait()
	})
	return listener.Addr().String()
}

func (u *upstreams) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	line, err := in.ReadString('\n')
	words := strings.Split(strings.TrimSuffix(line, "\n"), " ")
	if err != nil || len(words) != 3 {
		return
	}
	s := u.speaker(words[0], words[1], words[2])
	s.write = func(text string) error { _, err := io.WriteString(conn, text); return err }
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	go func() { // notices when the other side leaves
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	s.speak(ctx)
}

// push connects to backend listen repeatedly until ctx ends.
func (u *upstreams) push(ctx context.Context, socket, tag string, sender int) {
	for ctx.Err() == nil {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		s := u.speaker(tag, "all", "")
		s.random = u.plan.random("sender", sender, s.conn.id)
		s.write = func(text string) error { _, err := io.WriteString(conn, text); return err }
		s.speak(ctx)
		stop()
		conn.Close()
	}
}

// start starts all upstreams.
func (u *upstreams) start(t testing.TB, folder string, routes []*route) addresses {
	u.visits = make(map[string]int)
	a := addresses{folder: folder, http: ssetest.Upstream(t, u.ServeHTTP), dial: u.listen(t)}
	ctx, cancel := context.WithCancel(context.Background())
	var working sync.WaitGroup
	for _, r := range routes {
		switch r.kind {
		case "listen":
			for sender := range 3 {
				working.Go(func() { u.push(ctx, a.socket(r.tag), r.tag, sender) })
			}
		case "file":
			f := &logFile{upstreams: u, path: a.log(r.tag), conn: u.ledger.log(r.tag, "all"), random: u.plan.random("file", r.tag)}
			working.Go(func() {
				if err := f.write(ctx); err != nil {
					t.Error(fmt.Errorf("writing %s: %w", f.path, err))
				}
			})
		}
	}
	t.Cleanup(func() {
		cancel()
		working.Wait()
	})
	return a
}
