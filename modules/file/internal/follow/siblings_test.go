package follow

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// withBirth runs a test on this system, and as on one that does not know when a file was made.
func withBirth(t *testing.T, test func(t *testing.T, known bool)) {
	t.Run("birth time known", func(t *testing.T) { test(t, true) })
	t.Run("birth time unknown", func(t *testing.T) {
		replaceBirth(t, func(os.FileInfo, *os.File, string) int64 { return 0 })
		test(t, false)
	})
}

// seen waits until the census has the sibling as it is now.
func seen(t *testing.T, path, sibling string) {
	t.Helper()
	shared.Lock()
	c := &shared.hub.topics[path].census
	shared.Unlock()
	for deadline := time.Now().Add(patient); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		info, err := os.Lstat(sibling)
		must(t, err)
		at, there := c.now().seen[identify(info, nil, sibling)]
		if there && at.size == info.Size() && at.modified == info.ModTime().UnixNano() {
			return
		}
	}
	t.Fatalf("%s is not seen", sibling)
}

// later makes a file look as if it had been written to after everything else.
func later(t *testing.T, path string) {
	t.Helper()
	soon := time.Now().Add(time.Hour)
	must(t, os.Chtimes(path, soon, soon))
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, text, 0o644))
}

// tick is longer than one of the clock that files get their times from.
func tick() { time.Sleep(30 * time.Millisecond) }

// threeLogs is a log with two rotated files.
func threeLogs(t *testing.T) string {
	path := logPath(t)
	for _, line := range []string{"a line of the oldest\n", "a line of the former\n", ""} {
		appendTo(t, path, line)
		if line != "" {
			tick()
			rotate(t, path)
		}
	}
	appendTo(t, path, "a line of the current\n")
	tick()
	return path
}

func TestSiblingThatWasThereBeforeTheRotationIsNotReadAfterIt(t *testing.T) {
	for name, meddle := range map[string]func(t *testing.T, path string) string{
		"an old one uncompressed": func(t *testing.T, path string) string {
			appendTo(t, path+".5", "a line of long ago\n")
			return path + ".5"
		},
		"a copy of the log": func(t *testing.T, path string) string {
			copyFile(t, path, path+".20261124")
			return path + ".20261124"
		},
		"a copy of an old one": func(t *testing.T, path string) string {
			copyFile(t, path+".2", path+"-20261124")
			return path + "-20261124"
		},
		"an old one touched": func(t *testing.T, path string) string { return path + ".2" },
	} {
		t.Run(name, func(t *testing.T) {
			withBirth(t, func(t *testing.T, known bool) {
				path := threeLogs(t)
				r := follow(t, Options{Path: path, From: FromStart})
				r.want("a line of the current")
				slow := follow(t, Options{Path: path, From: FromStart}) // reads only when all is over
				sibling := meddle(t, path)
				later(t, sibling)
				seen(t, path, sibling)
				// Without shifting: what was meddled with keeps its name.
				must(t, os.Rename(path, path+".1"))
				appendTo(t, path, "a line of the next\n")
				r.want("a line of the next")
				must(t, os.Rename(path, path+".0"))
				appendTo(t, path, "a line of the last\n")
				r.want("a line of the last")
				slow.until("a line of the last")
				if got := strings.Join(slow.lines, "|"); got != "a line of the current|a line of the next|a line of the last" &&
					got != "a line of the current|a line of the last" {
					t.Errorf("who was slow got %s", got)
				} else if known && (len(slow.lines) != 3 || r.gaps+slow.gaps != 0) || len(slow.lines) != 3 && slow.gaps == 0 {
					t.Errorf("told of %d and %d gaps, who was slow got %s", r.gaps, slow.gaps, got)
				}
			})
		})
	}
}

// A file that nobody has seen come is not sent if it may be a copy. The lines that it might have had are told as a gap.
func TestResumeOverRotationsDoesNotSendCopies(t *testing.T) {
	for name, meddle := range map[string]func(t *testing.T, path string){
		"touched": func(t *testing.T, path string) { later(t, path+".3") },
		"copied while another was written to": func(t *testing.T, path string) {
			tick()
			copyFile(t, path+".3", path+".7")
			tick()
			appendTo(t, path, "a line after it\n")
		},
		"the log copied": func(t *testing.T, path string) { copyFile(t, path+".1", path+".20261124") },
	} {
		t.Run(name, func(t *testing.T) {
			path := threeLogs(t)
			r := follow(t, Options{Path: path, From: FromStart})
			r.want("a line of the current")
			r.f.Close()
			rotate(t, path)
			appendTo(t, path, "a line of the next\n")
			meddle(t, path)
			appendTo(t, path, "the end\n")
			again := follow(t, Options{Path: path, Resume: &r.at})
			again.until("the end")
			if again.lines[0] != "a line of the next" || again.gaps != 1 {
				t.Errorf("got %q and %d gaps", again.lines, again.gaps)
			}
		})
	}
}

func TestRotationsThatNobodyMeddlesWithAreNoGap(t *testing.T) {
	for name, name2 := range map[string]func(path string, n int) string{
		"shifted":  nil,
		"dates":    func(path string, n int) string { return fmt.Sprintf("%s-202611%02d", path, n) },
		"counting": func(path string, n int) string { return fmt.Sprintf("%s.%d", path, n) },
	} {
		t.Run(name, func(t *testing.T) {
			withBirth(t, func(t *testing.T, _ bool) {
				path := logPath(t)
				appendTo(t, path, "line 0\n")
				quick := follow(t, Options{Path: path, From: FromStart})
				slow := follow(t, Options{Path: path, From: FromStart})
				quick.want("line 0")
				at := quick.at
				var want []string
				for n := 1; n < 9; n++ {
					if name2 == nil {
						rotate(t, path)
					} else {
						must(t, os.Rename(path, name2(path, n)))
					}
					line := fmt.Sprint("line ", n)
					appendTo(t, path, line+"\n")
					if name == "counting" {
						tick() // without it, the lower number counts as the later
					}
					if n%2 == 0 {
						quick.until(line)
					}
					want = append(want, line)
				}
				quick.want(want...)
				slow.want(append([]string{"line 0"}, want...)...)
				again := follow(t, Options{Path: path, Resume: &at})
				again.want(want...)
				if n := quick.gaps + slow.gaps + again.gaps; n != 0 {
					t.Errorf("told of %d gaps", n)
				}
			})
		})
	}
}

// Dates may be given to a file before it is the log: cronolog points a link to it then.
func TestFileThatWasMadeBeforeTheLinkWasPointedToItIsRead(t *testing.T) {
	path := logPath(t)
	point := func(to string) {
		must(t, os.Symlink(to, path+".new"))
		must(t, os.Rename(path+".new", path))
	}
	appendTo(t, path+".20261122", "line 1\n")
	point(path + ".20261122")
	r := follow(t, Options{Path: path, From: FromStart})
	appendTo(t, path+".20261123", "line 2\n")
	seen(t, path, path+".20261123")
	point(path + ".20261123")
	seen(t, path, path+".20261122")
	waitForEra(t, path, path+".20261123")
	appendTo(t, path+".20261124", "line 3\n")
	point(path + ".20261124")
	r.want("line 1", "line 2", "line 3")
	if r.gaps != 0 {
		t.Errorf("told of %d gaps", r.gaps)
	}
}

// waitForEra waits until the hub has seen that the name stands for the file.
func waitForEra(t *testing.T, path, file string) {
	t.Helper()
	shared.Lock()
	c := &shared.hub.topics[path].census
	shared.Unlock()
	info, err := os.Lstat(file)
	must(t, err)
	id := identify(info, nil, file)
	for deadline := time.Now().Add(patient); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		c.mu.Lock()
		e := c.eras[id]
		began := e != nil && e.began > 0
		c.mu.Unlock()
		if began {
			return
		}
	}
	t.Fatalf("%s is not seen", file)
}

func TestTruncationOfALogWithNothingButABannerSendsNoOldLines(t *testing.T) {
	const banner = "# the log of a server, with a head in each file\n"
	for name, late := range map[string]bool{"beside a rotated file": false, "beside one that came later": true} {
		t.Run(name, func(t *testing.T) {
			withBirth(t, func(t *testing.T, _ bool) {
				path := logPath(t)
				if !late {
					appendTo(t, path+".1", banner+"an old line\n")
				}
				appendTo(t, path, banner)
				r := follow(t, Options{Path: path, From: FromStart})
				r.until(strings.TrimSpace(banner))
				if late {
					appendTo(t, path+".5", banner+"an old line\n")
					seen(t, path, path+".5")
					r.step(quiet) // looks
				}
				must(t, os.Truncate(path, 0))
				appendTo(t, path, "a new line\n")
				r.want(strings.TrimSpace(banner), "a new line")
				if r.truncated != 1 {
					t.Errorf("told of %d truncations", r.truncated)
				}
			})
		})
	}
	t.Run("while nobody is there", func(t *testing.T) {
		path := logPath(t)
		for n := range 2 {
			appendTo(t, fmt.Sprint(path, ".", n+1), fmt.Sprint(banner, "old line ", n, "\n"))
		}
		appendTo(t, path, banner)
		r := follow(t, Options{Path: path, From: FromStart})
		r.until(strings.TrimSpace(banner))
		r.f.Close()
		must(t, os.Truncate(path, 0))
		appendTo(t, path, "a new line\n")
		again := follow(t, Options{Path: path, Resume: &r.at})
		again.want("a new line")
		if again.gaps != 1 {
			t.Errorf("told of %d gaps", again.gaps)
		}
	})
}

func TestCopytruncateIsFollowedAgainAndAgain(t *testing.T) {
	withBirth(t, func(t *testing.T, _ bool) {
		path := logPath(t)
		appendTo(t, path, "the banner of each of them\nline 0\n")
		r := follow(t, Options{Path: path, From: FromStart})
		r.until("line 0")
		var want []string
		for n := 1; n < 6; n++ {
			late := fmt.Sprint("line ", n, " that nobody has read yet")
			appendTo(t, path, late+"\n")
			for i := 6; i > 0; i-- {
				if err := os.Rename(fmt.Sprint(path, ".", i), fmt.Sprint(path, ".", i+1)); err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
			}
			copyFile(t, path, path+".1")
			must(t, os.Truncate(path, 0))
			line := fmt.Sprint("line ", n)
			appendTo(t, path, "the banner of each of them\n"+line+"\n")
			r.until(line)
			want = append(want, late, "the banner of each of them", line)
		}
		r.lines = r.lines[2:]
		r.want(want...)
		if r.gaps+r.truncated != 0 {
			t.Errorf("told of %d gaps and %d truncations", r.gaps, r.truncated)
		}
	})
}

func TestInodeNumberThatIsUsedAgainIsAnotherFile(t *testing.T) {
	path := logPath(t)
	appendTo(t, path, "line 1\n")
	appendTo(t, path+".9", "old\n")
	r := follow(t, Options{Path: path, From: FromStart})
	r.want("line 1")
	seen(t, path, path+".9")
	tick()
	must(t, os.Remove(path+".9"))
	rotate(t, path)
	appendTo(t, path, "line 2\n") // on ext4 it has the inode number of the one that is gone
	rotate(t, path)
	appendTo(t, path, "line 3\n")
	r.want("line 2", "line 3")
	if r.gaps != 0 {
		t.Errorf("told of %d gaps", r.gaps)
	}
}
