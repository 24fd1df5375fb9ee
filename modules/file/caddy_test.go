package file_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/seed-4dedbcea/caddy-sse"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// logWriter appends numbered lines in odd-sized pieces, and rotates the file by rename now and then.
type logWriter struct {
	t         *testing.T
	path      string
	rotations int
	pending   strings.Builder
	file      *os.File
}

func (w *logWriter) open() {
	var err error
	if w.file, err = os.OpenFile(w.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *logWriter) line(n int) {
	fmt.Fprintf(&w.pending, "line %d of the log%s\n", n, strings.Repeat(".", n%37))
	text := w.pending.String()
	piece := min(len(text), 1+rand.IntN(120))
	w.write(text[:piece])
	w.pending.Reset()
	w.pending.WriteString(text[piece:])
}

func (w *logWriter) write(text string) {
	if _, err := w.file.WriteString(text); err != nil {
		w.t.Fatal(err)
	}
}

// settle writes the rest of the lines so far.
func (w *logWriter) settle() {
	w.write(w.pending.String())
	w.pending.Reset()
}

func (w *logWriter) rotate() {
	w.settle()
	w.file.Close()
	for n := w.rotations; n > 0; n-- {
		_ = os.Rename(fmt.Sprintf("%s.%d", w.path, n), fmt.Sprintf("%s.%d", w.path, n+1))
	}
	if err := os.Rename(w.path, w.path+".1"); err != nil {
		w.t.Fatal(err)
	}
	w.rotations++
	w.open()
}

func lineNumber(t *testing.T, data string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.Fields(data)[1])
	if err != nil || data != fmt.Sprintf("line %d of the log%s", n, strings.Repeat(".", n%37)) {
		t.Fatalf("not a line of the log: %q", data)
	}
	return n
}

func TestLogIsFollowedThroughRotationsAndResumedAfterRestarts(t *testing.T) {
	testLog(t, 5_000)
}

func TestSoakLogOf100000LinesIsFollowedThroughRotationsAndResumedAfterRestarts(t *testing.T) {
	if os.Getenv("SSE_SOAK") == "" {
		t.Skip("a long one: SSE_SOAK=1 runs it, as CI does")
	}
	testLog(t, 100_000)
}

func testLog(t *testing.T, lines int) {
	ssetest.NoLeaks(t)
	path := filepath.Join(t.TempDir(), "app.log")
	site := ssetest.Site("sse {\nbackend file " + path + " {\nfrom start\n}\n}")
	server := ssetest.Start(t, site)
	client := ssetest.Client(t, "h1")
	stays := ssetest.Get(t, client, server.URL("h1", "/"))

	w := &logWriter{t: t, path: path}
	w.open()
	opened, written := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(written)
		<-opened // or the first lines may have been rotated away
		for n := 1; n <= lines; n++ {
			w.line(n)
			switch {
			case n%(lines/10) == lines/20:
				w.rotate()
			case n%(lines/50) == 0:
				time.Sleep(time.Millisecond)
			}
		}
		w.settle()
	}()

	// A client that is killed again and again, even over a restart of the server, resumes where it was.
	var last string
	got := 0
	for kills := 0; got < lines; kills++ {
		var options []func(*http.Request)
		if last != "" {
			options = append(options, ssetest.LastEventID(last))
		}
		s := ssetest.Get(t, client, server.URL("h1", "/"), options...)
		if kills == 0 {
			close(opened)
		}
		take := lines - got
		if kills < 20 {
			take = min(take, 1+rand.IntN(lines/20))
		}
		for _, e := range s.WaitEvents(take)[:take] {
			if e.Type == frame.TypeGap {
				t.Fatalf("after %d lines: %s %s", got, e.Type, e.Data)
			}
			got++
			if n := lineNumber(t, e.Data); n != got {
				t.Fatalf("line %d came after line %d", n, got-1)
			}
			last = e.ID
		}
		s.Close()
		if kills == 10 {
			<-written
			stays.WaitEvents(lines) // the server ends it
			server.Reload("# nothing runs")
			server.Reload(site)
		}
	}
	for i, e := range stays.WaitEvents(lines) {
		if n := lineNumber(t, e.Data); n != i+1 {
			t.Fatalf("the client that stayed got line %d after line %d", n, i)
		}
	}

	// The client learns of lines that truncation has destroyed.
	<-written
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	w.write("after the truncation\n")
	w.file.Close()
	resumed := ssetest.Get(t, client, server.URL("h1", "/"), ssetest.LastEventID(last))
	events := resumed.WaitEvents(2)
	if events[0].Type != frame.TypeGap || events[1].Data != "after the truncation" {
		t.Errorf("after the truncation came %+v", events[:2])
	}
}

func TestEventIDThatNamesNoPlaceInTheFileIsAGap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	if err := os.WriteFile(path, []byte("one\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	server := ssetest.Start(t, ssetest.Site("sse {\nbackend file "+path+" {\nfrom last 1\n}\n}"))
	client := ssetest.Client(t, "h1")
	first := ssetest.Get(t, client, server.URL("h1", "/")).WaitEvents(1)
	if first[0].Data != "one" {
		t.Errorf("without an id came %+v", first)
	}
	for _, id := range []string{"42", "../../etc/passwd-1", first[0].ID + "0"} {
		events := ssetest.Get(t, client, server.URL("h1", "/"), ssetest.LastEventID(id)).WaitEvents(2)
		if events[0].Type != frame.TypeGap || events[1].Data != "one" {
			t.Errorf("with id %s came %+v", id, events)
		}
	}
}

func TestARecordHasTheSameDataWhereverReadingBegins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	if err := os.WriteFile(path, []byte("\ufeffone\n\ufefftwo\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	server := ssetest.Start(t, ssetest.Site("sse {\nbackend file "+path+" {\nfrom start\n}\n}"))
	all := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/")).WaitEvents(2)
	if all[0].Data != "one" || all[1].Data != "\ufefftwo" {
		t.Errorf("from the start came %+v", all)
	}
	if again := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/"), ssetest.LastEventID(all[0].ID)).WaitEvents(1); again[0] != all[1] {
		t.Errorf("after the first came %+v, want %+v", again[0], all[1])
	}
}

// A name that a request chooses may be the name of another log's rotated file.
func TestRotatedFilesAreNotReadWhereARequestChoosesTheName(t *testing.T) {
	for path, others := range map[string]bool{"{query.name}.log": false, "app.log": true} {
		t.Run(path, func(t *testing.T) {
			dir := t.TempDir()
			server := ssetest.Start(t, ssetest.Site("sse {\nbackend file "+filepath.Join(dir, path)+" {\nfrom start\n}\n}"))
			write := func(name, text string) {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			write("app.log", "one\ntwo\n")
			first := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/?name=app")).WaitEvents(2)[0]
			if err := os.Rename(filepath.Join(dir, "app.log"), filepath.Join(dir, "app.log-12345678")); err != nil {
				t.Fatal(err)
			}
			write("app.log", "three\n")
			events := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/?name=app"), ssetest.LastEventID(first.ID)).WaitEvents(2)
			if others && (events[0].Data != "two" || events[1].Data != "three") {
				t.Errorf("%s: came %+v", path, events)
			}
			if !others && (events[0].Type != frame.TypeGap || events[1].Data != "three") {
				t.Errorf("%s: came %+v", path, events)
			}
		})
	}
}
