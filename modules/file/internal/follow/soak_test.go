package follow

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	soakSeed = flag.Uint64("soak.seed", 0, "seed of the soak test; 0: by chance")
	soakTime = flag.Duration("soak.duration", time.Second, "how long the soak test writes")
)

// soak writes numbered lines to a log, rotates it in every way, and copies files beside it.
type soak struct {
	path   string
	random *rand.Rand
	over   chan struct{} // closed when the last line is written

	out    *os.File
	copies int

	mu    sync.Mutex
	n     int      // the last line
	cuts  []int    // the last lines before the log was truncated or removed: unread lines before them are lost
	trail []string // what was done, for a failure
}

// note adds to the trail, with what files there are: inode number, size and time of each.
func (s *soak) note(format string, args ...any) {
	var files []string
	found, _ := filepath.Glob(s.path + "*")
	for _, name := range found {
		if info, err := os.Stat(name); err == nil {
			files = append(files, fmt.Sprintf("%s=%s/%d/%d", strings.TrimPrefix(name, s.path), strconv.FormatUint(inode(info), 36), info.Size(), info.ModTime().UnixMilli()%1e6))
		}
	}
	s.mu.Lock()
	s.trail = append(s.trail, fmt.Sprintf("%d line %d: %s: %s", time.Now().UnixMilli()%1e6, s.n, fmt.Sprintf(format, args...), strings.Join(files, " ")))
	s.mu.Unlock()
}

func (s *soak) cut() {
	s.mu.Lock()
	s.cuts = append(s.cuts, s.n)
	s.mu.Unlock()
}

// burst writes some lines in two pieces.
func (s *soak) burst() error {
	var text []byte
	s.mu.Lock()
	for range 1 + s.random.IntN(20) {
		s.n++
		text = fmt.Appendf(text, "line %d of the log, %s\n", s.n, strings.Repeat("x", s.random.IntN(200)))
	}
	s.mu.Unlock()
	cut := s.random.IntN(len(text))
	_, err := s.out.Write(text[:cut])
	if s.random.IntN(4) == 0 {
		time.Sleep(time.Millisecond)
	}
	_, err2 := s.out.Write(text[cut:])
	return errors.Join(err, err2)
}

func (s *soak) open() (err error) {
	s.out, err = os.OpenFile(s.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	return err
}

// shift makes room for the next rotated file.
func (s *soak) shift() error {
	for i := 8; i > 0; i-- {
		if err := os.Rename(fmt.Sprint(s.path, ".", i), fmt.Sprint(s.path, ".", i+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// copy is not atomic: the copy grows while readers look.
func (s *soak) copy(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o644)
}

// rotate does one of the things that happen to logs.
func (s *soak) rotate() error {
	what := s.random.IntN(8)
	s.note("begin %d", what)
	defer s.note("end %d", what)
	switch {
	case what < 3: // renamed; now and then the writer goes on in the old file
		if err := errors.Join(s.shift(), os.Rename(s.path, s.path+".1")); err != nil {
			return err
		}
		if s.random.IntN(2) == 0 {
			if err := s.burst(); err != nil {
				return err
			}
		}
		s.out.Close()
		return s.open()
	case what < 5: // copied and truncated
		return errors.Join(s.shift(), s.copy(s.path, s.path+".1"), s.out.Truncate(0))
	case what < 6: // truncated
		s.cut()
		return s.out.Truncate(0)
	case what < 7: // removed
		s.cut()
		if err := os.Remove(s.path); err != nil {
			return err
		}
		s.out.Close()
		return s.open()
	default: // a copy of the log or of a rotated file
		s.copies++
		name := fmt.Sprint(s.path, ".", 20260000+s.copies)
		if s.random.IntN(2) == 0 {
			name = fmt.Sprint(s.path, ".", 9+s.random.IntN(3))
		}
		from := []string{"", ".1", ".2"}[s.random.IntN(3)]
		defer s.note("copied %q to %s", from, name)
		if err := s.copy(s.path+from, name); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
}

func (s *soak) write(lasts time.Duration) error {
	for end, rotation := time.Now().Add(lasts), time.Now(); time.Now().Before(end); {
		if err := s.burst(); err != nil {
			return err
		}
		if time.Since(rotation) > 30*time.Millisecond && s.random.IntN(10) == 0 {
			if err := s.rotate(); err != nil {
				return err
			}
			rotation = time.Now()
		}
		time.Sleep(time.Duration(s.random.ExpFloat64() * float64(2*time.Millisecond)))
	}
	return s.burst()
}

// soaker is a reader that stalls, closes its follower and resumes.
type soaker struct {
	*soak
	random *rand.Rand
	last   int       // line
	at     *Position // behind it
	gap    bool      // since then
	half   []byte    // of the next line
	gaps   int
	vain   int // gaps with nothing missing
	trail  []string
}

// live follows the log again and again, until all has come.
func (r *soaker) live(ctx context.Context) error {
	for {
		f, err := Open(ctx, Options{Path: r.path, From: FromStart, Resume: r.at})
		if err != nil {
			return err
		}
		r.half = nil
		r.trail = append(r.trail, fmt.Sprintf("%d opens %p after %d at %v", time.Now().UnixMilli()%1e6, f, r.last, r.at))
		if r.at == nil {
			r.last, r.gap = 0, false
		}
		done, err := r.visit(ctx, f)
		f.Close()
		if done || err != nil {
			return err
		}
		time.Sleep(time.Duration(r.random.IntN(100)) * time.Millisecond)
	}
}

// visit follows the log for a while.
func (r *soaker) visit(ctx context.Context, f *Follower) (done bool, err error) {
	buf := make([]byte, 1+r.random.IntN(8000))
	life := time.Now().Add(time.Duration(r.random.ExpFloat64() * float64(300*time.Millisecond)))
	for {
		leave, cancel := context.WithDeadline(ctx, life)
		c, err := f.Next(leave, buf)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return r.done(), nil
		}
		if err != nil {
			return false, fmt.Errorf("after %d: %w", r.last, err)
		}
		if c.NewFile || c.Gap {
			r.trail = append(r.trail, fmt.Sprintf("%d %p after %d: new %t gap %t truncated %t %s@%d", time.Now().UnixMilli()%1e6, f, r.last, c.NewFile, c.Gap, c.Truncated, c.Generation, c.Offset))
		}
		if c.NewFile && !c.Truncated && len(r.half) > 0 {
			if err := r.line(string(r.half)); err != nil {
				return false, err
			}
		}
		if c.NewFile || c.Gap {
			r.half = nil
		}
		if c.Gap {
			r.gap = true
			r.gaps++
		}
		r.half, err = cutLines(c, r.half, func(line string, end Position) error {
			if err := r.line(line); err != nil {
				return err
			}
			r.at = &end
			return nil
		})
		if err != nil {
			return false, err
		}
		if r.done() {
			return true, nil
		}
		if r.random.IntN(200) == 0 {
			time.Sleep(time.Duration(r.random.IntN(200)) * time.Millisecond)
		}
	}
}

// done reports whether all has come.
func (r *soaker) done() bool {
	select {
	case <-r.over:
		return r.last == r.n
	default:
		return false
	}
}

// line checks that the line is the next, unless a gap or a cut excuses a hole. Nothing excuses an old line.
func (r *soaker) line(text string) error {
	number, _, _ := strings.Cut(strings.TrimPrefix(text, "line "), " ")
	n, err := strconv.Atoi(number)
	if err != nil || !strings.HasPrefix(text, "line ") {
		return fmt.Errorf("%q is no line", text)
	}
	last := r.last
	r.last = n
	gap := r.gap
	r.gap = false
	if gap && n == last+1 {
		r.vain++
		r.trail = append(r.trail, fmt.Sprintf("needless gap before %d", n))
	}
	switch {
	case n <= last:
		return fmt.Errorf("line %d after line %d, gap %t", n, last, gap)
	case n == last+1 || gap || last == 0:
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Contains(r.cuts, n-1) {
		return nil
	}
	return fmt.Errorf("line %d after line %d, without a gap", n, last)
}

// Readers of all kinds get each line once, in order. A line that is missing was cut, or there is a gap in its place.
func TestNoLineIsSentTwiceOrLeftOutWithoutAGap(t *testing.T) {
	seed := *soakSeed
	if seed == 0 {
		seed = rand.Uint64()>>1 + 1
	}
	s := &soak{path: logPath(t), random: rand.New(rand.NewPCG(seed, 0)), over: make(chan struct{})}
	must(t, s.open())
	defer func() { s.out.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), *soakTime+patient)
	defer cancel()
	var working sync.WaitGroup
	readers := make([]*soaker, 30)
	failures := make(chan error, len(readers))
	for i := range readers {
		r := &soaker{soak: s, random: rand.New(rand.NewPCG(seed, uint64(i+1)))}
		readers[i] = r
		working.Go(func() {
			if err := r.live(ctx); err != nil {
				failures <- fmt.Errorf("reader %d: %w\n%s", i, err, strings.Join(r.trail[max(0, len(r.trail)-12):], "\n"))
			}
		})
	}
	if err := s.write(*soakTime); err != nil {
		t.Error(err)
	}
	close(s.over)
	working.Wait()
	close(failures)
	gaps, vain := 0, 0
	for _, r := range readers {
		gaps, vain = gaps+r.gaps, vain+r.vain
	}
	t.Logf("run again with -soak.seed=%d; %d lines, %d gaps, %d of them needless", seed, s.n, gaps, vain)
	if err, failed := <-failures; failed {
		t.Errorf("%v\nlines before cuts: %v\n%s", err, s.cuts, strings.Join(s.trail, "\n"))
	}
}
