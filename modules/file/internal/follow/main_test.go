package follow

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patient bounds waits for what must happen; quiet is how long nothing is
// waited for, which can miss a fault but never invents one.
const (
	patient = 20 * time.Second
	quiet   = 30 * time.Millisecond
)

// replacement is what birth is replaced with in the test that runs, if anything.
var replacement atomic.Pointer[func(info os.FileInfo, f *os.File, path string) int64]

func init() {
	birth = func(info os.FileInfo, f *os.File, path string) int64 {
		if with := replacement.Load(); with != nil {
			return (*with)(info, f, path)
		}
		return systemBirth(info, f, path)
	}
}

// replaceBirth replaces birth until the test ends, while followers run.
func replaceBirth(t *testing.T, with func(info os.FileInfo, f *os.File, path string) int64) {
	replacement.Store(&with)
	t.Cleanup(func() { replacement.Store(nil) })
}

// reader makes lines of a follower's chunks, as a consumer has to.
type reader struct {
	t         *testing.T
	f         *Follower
	buf       []byte
	half      []byte
	lines     []string
	at        Position // behind the last complete line
	truncated int
	gaps      int
}

func follow(t *testing.T, o Options) *reader {
	t.Helper()
	r := &reader{t: t, f: open(t, o), buf: make([]byte, 4096)}
	t.Cleanup(func() { r.f.Close() })
	return r
}

func open(t testing.TB, o Options) *Follower {
	t.Helper()
	f, err := Open(context.Background(), o)
	must(t, err)
	return f
}

// step waits at most so long for a chunk and reports whether there was one.
func (r *reader) step(wait time.Duration) bool {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	c, err := r.f.Next(ctx, r.buf)
	if errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if err != nil {
		r.t.Fatal(err)
	}
	if c.Truncated {
		r.truncated++
		r.half = nil
	}
	if c.Gap {
		r.gaps++
		r.half = nil
	}
	if c.NewFile && len(r.half) > 0 {
		r.lines = append(r.lines, string(r.half))
		r.half = nil
	}
	r.half, err = cutLines(c, r.half, func(line string, end Position) error {
		r.lines, r.at = append(r.lines, line), end
		return nil
	})
	must(r.t, err)
	return true
}

// cutLines calls each for every whole line of a chunk, of which half is already there, with the position after it. It
// returns the half line that is left.
func cutLines(c Chunk, half []byte, each func(line string, end Position) error) ([]byte, error) {
	offset := c.Offset
	for data := c.Data; len(data) > 0; {
		line, rest, whole := bytes.Cut(data, []byte{'\n'})
		half = append(half, line...)
		if !whole {
			break
		}
		offset += int64(len(line)) + 1
		if err := each(string(half), Position{Generation: c.Generation, Offset: offset}); err != nil {
			return nil, err
		}
		data, half = rest, nil
	}
	return half, nil
}

// until reads until the line has come.
func (r *reader) until(line string) {
	r.t.Helper()
	for deadline := time.Now().Add(patient); len(r.lines) == 0 || r.lines[len(r.lines)-1] != line; {
		if !r.step(time.Until(deadline)) {
			r.t.Fatalf("%q did not come; got %q, unfinished %q", line, tail(r.lines), r.half)
		}
	}
}

func (r *reader) want(lines ...string) {
	r.t.Helper()
	r.until(lines[len(lines)-1])
	if len(r.lines) != len(lines) {
		r.t.Fatalf("got %q, want %q", r.lines, lines)
	}
	for i := range lines {
		if r.lines[i] != lines[i] {
			r.t.Fatalf("got %q, want %q", r.lines, lines)
		}
	}
	r.lines = nil
}

func tail(lines []string) []string { return lines[max(0, len(lines)-5):] }

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func logPath(t *testing.T) string { return filepath.Join(t.TempDir(), "app.log") }
