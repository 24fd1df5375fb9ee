package follow

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestRotatedNames(t *testing.T) {
	for _, test := range []struct {
		base, name string
		want       bool
	}{
		{"app.log", "app.log.1", true},
		{"app.log", "app.log.10", true},
		{"app.log", "app.log-20261123", true},
		{"app.log", "app.log.2026-11-23", true},
		{"app.log", "app.log.old", true},
		{"app.log", "app-2026-11-23.log", true},
		{"app.log", "app-2026-11-23T10-00-00.000-size.log", true},
		{"syslog", "syslog.1", true},
		{"0.log", "0.log.20261123-101112", true},
		{"app.log", "app.log", false},
		{"app.log", "app.log.1.gz", false},
		{"app.log", "app.log-20261123.zst", false},
		{"app.log", "app.log.offset", false},
		{"app.log", "app-error.log", false},
		{"app.log", "app-2.log", false},
		{"app.log", "app2.log", false},
		{"app.log", "apple.log.1", false},
		{"app.log", "other.log.1", false},
		{".log", "a-20261123.log", false},
	} {
		if got := rotatedName(test.base, test.name); got != test.want {
			t.Errorf("%s of %s: %v", test.name, test.base, got)
		}
	}
}

// rotate renames as logrotate does: app.log.1 is the newest.
func rotate(t *testing.T, path string) {
	t.Helper()
	for n := 30; n > 0; n-- {
		from := fmt.Sprintf("%s.%d", path, n-1)
		if n == 1 {
			from = path
		}
		if err := os.Rename(from, fmt.Sprintf("%s.%d", path, n)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

func TestLastLineOfARotatedFileIsComplete(t *testing.T) {
	path := logPath(t)
	appendTo(t, path, "one\ntwo")
	r := follow(t, Options{Path: path, From: FromStart})
	r.until("one")
	rotate(t, path)
	appendTo(t, path, "three\n")
	r.want("one", "two", "three")
}

func TestWriterThatKeepsItsDescriptorLosesNothing(t *testing.T) {
	path := logPath(t)
	old, err := os.Create(path)
	must(t, err)
	defer old.Close()
	r := follow(t, Options{Path: path, From: FromStart})
	rotate(t, path)
	appendTo(t, path, "") // as logrotate creates it
	old.WriteString("one\n")
	r.want("one")
	r.step(quiet)
	old.WriteString("two\n")
	r.want("two")
	old.WriteString("three\n")
	appendTo(t, path, "four\n")
	r.want("three", "four")
}

func TestFilesRotatedAwayUnseenAreRead(t *testing.T) {
	for name, dated := range map[string]func(n int) string{
		"numbers":                    nil,
		"dates after the name":       func(n int) string { return fmt.Sprintf("app.log-2026112%d", n) },
		"dates before the extension": func(n int) string { return fmt.Sprintf("app-2026-11-2%d.log", n) },
	} {
		t.Run(name, func(t *testing.T) {
			path := logPath(t)
			appendTo(t, path, "line 0\n")
			r := follow(t, Options{Path: path, From: FromStart})
			r.want("line 0")
			at := r.at
			var want []string
			for n := 1; n < 9; n++ { // nobody reads meanwhile, and the clock hardly ticks
				if dated == nil {
					rotate(t, path)
				} else {
					must(t, os.Rename(path, strings.Replace(path, "app.log", dated(n), 1)))
				}
				if n != 4 { // an empty one, and one without LF
					appendTo(t, path, fmt.Sprintf("line %d", n))
					want = append(want, fmt.Sprintf("line %d", n))
				} else {
					appendTo(t, path, "")
				}
			}
			appendTo(t, path, "\n")
			r.want(want...)

			again := follow(t, Options{Path: path, Resume: &at})
			again.want(want...)
			if again.gaps != 0 {
				t.Error("told of a gap")
			}
		})
	}
}

func TestCopytruncateIsResumedInTheCopy(t *testing.T) {
	path := logPath(t)
	copied := func() {
		text, err := os.ReadFile(path)
		must(t, err)
		rotateCopies(t, path)
		must(t, os.WriteFile(path+".1", text, 0o644))
		must(t, os.Truncate(path, 0))
	}
	appendTo(t, path, "the first line of all\n")
	r := follow(t, Options{Path: path, From: FromStart})
	r.want("the first line of all")
	at := r.at
	appendTo(t, path, "the second\n")
	copied()
	appendTo(t, path, "the third one of them\n")
	copied()
	appendTo(t, path, "the fourth\n")

	want := []string{"the second", "the third one of them", "the fourth"}
	r.want(want...) // a reader that was too slow
	again := follow(t, Options{Path: path, Resume: &at})
	again.want(want...)
	if again.gaps+again.truncated+r.truncated != 0 {
		t.Error("told of a loss")
	}
}

func rotateCopies(t *testing.T, path string) {
	if err := os.Rename(path+".1", path+".2"); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}

func TestPositionThatIsNotKeptIsAGap(t *testing.T) {
	path := logPath(t)
	appendTo(t, path, "one\ntwo\n")
	r := follow(t, Options{Path: path, From: FromStart})
	r.want("one", "two")
	info, err := os.Stat(path)
	must(t, err)
	own := newGeneration(inode(info), []byte("one\n")).String()

	for name, at := range map[string]Position{
		"beyond the end":  {Generation: r.at.Generation, Offset: 9},
		"another inode":   {Generation: newGeneration(inode(info)+1, []byte("one\n")).String(), Offset: 4},
		"another content": {Generation: newGeneration(inode(info), []byte("eno\n")).String(), Offset: 4},
		"garbage":         {Generation: "../../etc/passwd", Offset: 4},
		"negative":        {Generation: own, Offset: -4},
	} {
		t.Run(name, func(t *testing.T) {
			again := follow(t, Options{Path: path, Resume: &at})
			again.want("one", "two")
			if again.gaps != 1 {
				t.Errorf("told of %d gaps", again.gaps)
			}
		})
	}
	t.Run("told before there are bytes", func(t *testing.T) {
		again := follow(t, Options{Path: path + ".none", Resume: &r.at})
		if !again.step(patient) || again.gaps != 1 {
			t.Error("not told")
		}
	})
	t.Run("an earlier name of the file is kept", func(t *testing.T) {
		again := follow(t, Options{Path: path, Resume: &Position{Generation: own, Offset: 4}})
		again.want("two")
		if again.gaps != 0 {
			t.Error("told of a gap")
		}
	})
}

// Only bytes that a truncation has destroyed are lost.
func TestWhatCameAfterATruncationIsReadInTheRotatedFile(t *testing.T) {
	path := logPath(t)
	appendTo(t, path, "one\n")
	rotate(t, path)
	appendTo(t, path, "two\nthree\n")
	r := follow(t, Options{Path: path, From: FromStart})
	r.want("two", "three")
	must(t, os.Truncate(path, 0))
	appendTo(t, path, "four\n")
	rotate(t, path)
	appendTo(t, path, "five\n")

	again := follow(t, Options{Path: path, Resume: &r.at})
	again.want("four", "five")
	if again.gaps != 1 {
		t.Errorf("told of %d gaps", again.gaps)
	}
}

// A writer appends numbered lines in odd-sized pieces; the log is rotated by
// rename ten times, some of them in a row, and truncated once between lines.
func TestEachLineComesOnceThroughRotationAndTruncation(t *testing.T) {
	const lines = 10_000
	path := logPath(t)
	appendTo(t, path, "")
	steady := follow(t, Options{Path: path, From: FromStart})
	cuttable := make(chan struct{}) // closed when steady reads the file that is to be truncated

	// A helper that fails ends only its goroutine: then the readers wait in vain.
	go func() {
		out, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { out.Close() }()
		random := rand.New(rand.NewPCG(1, 2))
		var pending []byte
		flush := func(all bool) {
			for len(pending) > 0 {
				n := 1 + random.IntN(97)
				if n > len(pending) {
					if !all {
						return
					}
					n = len(pending)
				}
				if _, err := out.Write(pending[:n]); err != nil {
					t.Error(err)
					return
				}
				pending = pending[n:]
			}
		}
		for n := 1; n <= lines; n++ {
			pending = fmt.Appendf(pending, "line %d\n", n)
			flush(n%700 == 0 || n == lines || n == 5000 || rotatesAt(n))
			switch {
			case rotatesAt(n):
				rotate(t, path)
				fresh, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
				if err != nil {
					t.Error(err)
					return
				}
				out.Close()
				out = fresh
			case n == 5000:
				<-cuttable // or the truncation is nothing that it could tell of
				must(t, os.Truncate(path, 0))
			}
			if n%100 == 0 {
				time.Sleep(time.Duration(random.IntN(2000)) * time.Microsecond)
			}
		}
	}()

	// The second reader is closed at random places and opened again with the
	// position of its last complete line, now and then after a while.
	resumed := make(chan []string, 1)
	go func() {
		defer close(resumed)
		random := rand.New(rand.NewPCG(3, 4))
		var got []string
		var at *Position
		for len(got) == 0 || got[len(got)-1] != "line "+strconv.Itoa(lines) {
			r := follow(t, Options{Path: path, From: FromStart, Resume: at})
			r.buf = make([]byte, 1+random.IntN(5000))
			for steps := 1 + random.IntN(60); steps > 0 || at == nil && len(r.lines) == 0; steps-- {
				if !r.step(patient) {
					t.Errorf("nothing comes after %q", tail(got))
					return
				}
				if n := len(r.lines); n > 0 && r.lines[n-1] == "line "+strconv.Itoa(lines) {
					break
				}
			}
			r.f.Close()
			got = append(got, r.lines...)
			if r.at.Generation != "" {
				at = &r.at
			}
			time.Sleep(time.Duration(random.IntN(3)*random.IntN(10)) * time.Millisecond)
		}
		resumed <- got
	}()

	for !slices.Contains(steady.lines, "line 2701") && steady.step(patient) {
	}
	close(cuttable)
	steady.until("line " + strconv.Itoa(lines))
	check(t, "steady", steady.lines, lines)
	check(t, "resumed", <-resumed, lines)
	if steady.truncated != 1 || steady.gaps != 0 {
		t.Errorf("told of %d truncations and %d gaps", steady.truncated, steady.gaps)
	}
}

// rotatesAt: ten rotations, three of them within a few lines.
func rotatesAt(n int) bool {
	return slices.Contains([]int{900, 1800, 1803, 1805, 2700, 6000, 7000, 7001, 8000, 9500}, n)
}

// check allows lines to be missing only where the truncation destroyed them:
// after the rotation before it.
func check(t *testing.T, who string, got []string, lines int) {
	t.Helper()
	last := 0
	for _, line := range got {
		n, err := strconv.Atoi(strings.TrimPrefix(line, "line "))
		if err != nil {
			t.Fatalf("%s: %q is no line", who, line)
		}
		if n != last+1 && (n != 5001 || last < 2700 || last >= n) {
			t.Fatalf("%s: line %d came after line %d", who, n, last)
		}
		last = n
	}
	if last != lines {
		t.Fatalf("%s: the last line is %d", who, last)
	}
}
