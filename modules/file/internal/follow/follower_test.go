package follow

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

func TestLinesArriveAsTheyAreAppended(t *testing.T) {
	path := logPath(t)
	appendTo(t, path, "old\n")
	r := follow(t, Options{Path: path})
	appendTo(t, path, "one\n")
	r.want("one")
	appendTo(t, path, "two\nthr")
	r.until("two")
	appendTo(t, path, "ee\n")
	r.want("two", "three")
}

func TestStart(t *testing.T) {
	long := strings.Repeat("x", block-1)
	for _, test := range []struct {
		name, text string
		from       Start
		want       string
	}{
		{"from the start", "a\nb\n", FromStart, "a\nb\n"},
		{"from the end", "a\nb\n", FromEnd, ""},
		{"from the end, an unfinished line whole", "a\nb", FromEnd, "b"},
		{"from the end, only an unfinished line", "ab", FromEnd, "ab"},
		{"from the end, a long unfinished line", "a\n" + long, FromEnd, long},
		{"from the end, an unfinished line too long to go back for", "a\nx" + long, FromEnd, ""},
		{"last 0", "a\nb\n", Last(0), ""},
		{"last of a negative number", "a\nb\n", Last(-1), ""},
		{"last 1", "a\nb\n", Last(1), "b\n"},
		{"last 1 and an unfinished one", "a\nb\nc", Last(1), "b\nc"},
		{"last 2 is all", "a\nb\n", Last(2), "a\nb\n"},
		{"last of more than there are", "a\nb\n", Last(100), "a\nb\n"},
		{"last, blank lines count", "a\n\n\n", Last(2), "\n\n"},
		{"last across blocks", "a\n" + long + "\n" + long + "\nb\n", Last(3), long + "\n" + long + "\nb\n"},
		{"last, an LF first in a block", "a\n" + long + "\nb\n", Last(1), "b\n"},
		{"last of nothing", "", Last(3), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := logPath(t)
			appendTo(t, path, test.text)
			f := open(t, Options{Path: path, From: test.from})
			defer f.Close()
			// A byte more makes sure that there is something to wait for.
			appendTo(t, path, "\n")
			want := test.want + "\n"
			offset := int64(len(test.text) - len(test.want))
			var got []byte
			for buf := make([]byte, 1000); len(got) < len(want); {
				c, err := f.Next(t.Context(), buf)
				must(t, err)
				if c.Offset != offset+int64(len(got)) {
					t.Fatalf("offset %d, want %d", c.Offset, offset+int64(len(got)))
				}
				got = append(got, c.Data...)
			}
			if string(got) != want {
				t.Errorf("got %.40q, want %.40q", got, want)
			}
		})
	}
}

func TestFileAndDirectoryThatAppearLaterAreReadFromTheirStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "app.log")
	r := follow(t, Options{Path: path, From: FromEnd})
	if r.step(quiet) {
		t.Fatal("a chunk without a file")
	}
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	appendTo(t, path, "one\n")
	r.want("one")
	appendTo(t, path, "two\n")
	r.want("two")

	// The directory goes and comes back.
	must(t, os.RemoveAll(filepath.Dir(path)))
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	appendTo(t, path, "three\n")
	r.want("three")
}

func TestDeletedFileIsFollowedWhenItIsThereAgain(t *testing.T) {
	path := logPath(t)
	appendTo(t, path, "one\nhalf")
	r := follow(t, Options{Path: path, From: FromStart})
	r.until("one")
	must(t, os.Remove(path))
	if r.step(quiet) {
		t.Fatal("a chunk without a file")
	}
	appendTo(t, path, "two\n")
	r.want("one", "half", "two")
}

func TestTruncatedFileIsReadFromItsStart(t *testing.T) {
	for name, text := range map[string]string{
		"shorter":         "n\n",
		"same length":     "new line\n",
		"grown past it":   "a new line that is longer\n",
		"grown in pieces": "",
	} {
		t.Run(name, func(t *testing.T) {
			path := logPath(t)
			appendTo(t, path, "old line\nhalf")
			r := follow(t, Options{Path: path, From: FromStart})
			r.until("old line")
			must(t, os.Truncate(path, 0))
			appendTo(t, path, text)
			appendTo(t, path, "last\n")
			if text != "" {
				text = strings.TrimSuffix(text, "\n")
				r.want("old line", text, "last")
			} else {
				r.want("old line", "last")
			}
			if r.truncated != 1 {
				t.Errorf("told %d times of the truncation", r.truncated)
			}
		})
	}
}

func TestTruncationIsToldBeforeThereAreNewBytes(t *testing.T) {
	path := logPath(t)
	appendTo(t, path, "one\n")
	r := follow(t, Options{Path: path, From: FromStart})
	r.want("one")
	must(t, os.Truncate(path, 0))
	for r.truncated == 0 {
		if !r.step(patient) {
			t.Fatal("not told")
		}
	}
}

func TestRetargetedSymlinkIsFollowed(t *testing.T) {
	pods, logs := t.TempDir(), t.TempDir()
	path := filepath.Join(logs, "app.log")
	link := func(target string) {
		must(t, os.Symlink(filepath.Join(pods, target), path+".new"))
		must(t, os.Rename(path+".new", path))
	}
	appendTo(t, filepath.Join(pods, "0.log"), "one\n")
	link("0.log")
	r := follow(t, Options{Path: path, From: FromStart})
	r.want("one")
	appendTo(t, filepath.Join(pods, "0.log"), "two\n")
	r.want("two")
	appendTo(t, filepath.Join(pods, "1.log"), "three\n")
	link("1.log")
	r.want("three")

	// The file that the link leads to is rotated where it is.
	appendTo(t, filepath.Join(pods, "1.log"), "four\n")
	must(t, os.Rename(filepath.Join(pods, "1.log"), filepath.Join(pods, "1.log.20261123-101112")))
	appendTo(t, filepath.Join(pods, "1.log"), "five\n")
	r.want("four", "five")
}

func TestFileThatMayNotBeReadIsAnError(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(t.Context(), Options{Path: dir}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
	f := open(t, Options{Path: logPath(t)})
	defer f.Close()
	if _, err := f.Next(t.Context(), nil); err == nil {
		t.Error("an empty buffer is no error")
	}
}

func TestNewFileThatGetsItsOwnerLateIsWaitedFor(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read every file: CI runs it as another user")
	}
	path := logPath(t)
	appendTo(t, path, "one\n")
	r := follow(t, Options{Path: path, From: FromStart})
	r.want("one")
	rotate(t, path)
	appendTo(t, path+".new", "two\n")
	must(t, os.Chmod(path+".new", 0))
	must(t, os.Rename(path+".new", path))
	if r.step(quiet) {
		t.Fatal("a chunk of a file that cannot be read")
	}
	must(t, os.Chmod(path, 0o600))
	r.want("two")

	must(t, os.Chmod(path, 0))
	if _, err := Open(t.Context(), Options{Path: path}); !errors.Is(err, os.ErrPermission) {
		t.Errorf("opened without permission: %v", err)
	}
}

func TestCloseEndsANextThatWaits(t *testing.T) {
	f := open(t, Options{Path: logPath(t)})
	ended := make(chan error)
	go func() {
		_, err := f.Next(context.Background(), make([]byte, 1))
		ended <- err
	}()
	must(t, f.Close())
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v", err)
	}
	must(t, f.Close())
}

func TestManyFollowersShareOneWatch(t *testing.T) {
	const readers = 500
	path := logPath(t)
	appendTo(t, path, "old\n")
	goroutines := runtime.NumGoroutine()
	var all []*Follower
	for range readers {
		all = append(all, open(t, Options{Path: path}))
	}
	shared.Lock()
	if n := len(shared.hub.watcher.WatchList()); n != 1 || len(shared.hub.topics) != 1 {
		t.Errorf("%d watches, %d topics", n, len(shared.hub.topics))
	}
	shared.Unlock()
	if runtime.GOOS == "linux" {
		if instances, watches := inotify(t); instances != 1 || watches != 1 {
			t.Errorf("%d inotify instances, %d watches", instances, watches)
		}
	}
	if n := runtime.NumGoroutine() - goroutines; n > 3 {
		t.Errorf("%d goroutines for %d followers", n, readers)
	}

	var done sync.WaitGroup
	for _, f := range all {
		done.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patient)
			defer cancel()
			c, err := f.Next(ctx, make([]byte, 100))
			if err != nil || string(c.Data) != "new\n" {
				t.Errorf("got %q, %v", c.Data, err)
			}
			f.Close()
		})
	}
	appendTo(t, path, "new\n")
	done.Wait()
	shared.Lock()
	if shared.hub != nil {
		t.Error("the hub outlives its followers")
	}
	shared.Unlock()
	if runtime.GOOS == "linux" {
		if instances, watches := inotify(t); instances != 0 || watches != 0 {
			t.Errorf("%d inotify instances, %d watches are left", instances, watches)
		}
	}
}

// inotify counts what the kernel holds for this process.
func inotify(t *testing.T) (instances, watches int) {
	t.Helper()
	infos, err := os.ReadDir("/proc/self/fdinfo")
	must(t, err)
	for _, info := range infos {
		if target, _ := os.Readlink("/proc/self/fd/" + info.Name()); target != "anon_inode:inotify" {
			continue
		}
		text, err := os.ReadFile("/proc/self/fdinfo/" + info.Name())
		must(t, err)
		instances++
		watches += strings.Count(string(text), "inotify wd:")
	}
	return instances, watches
}

func TestWithoutNotificationsTheFileIsPolled(t *testing.T) {
	defer func(old func() (*fsnotify.Watcher, error)) { newWatcher = old }(newWatcher)
	newWatcher = func() (*fsnotify.Watcher, error) { return nil, errors.New("too many open files") }
	path := logPath(t)
	r := follow(t, Options{Path: path})
	appendTo(t, path, "one\n")
	r.want("one")
	appendTo(t, path, "two\n")
	r.want("two")
	must(t, os.Rename(path, path+".1"))
	appendTo(t, path, "three\n")
	r.want("three")
	r.f.Close() // before newWatcher is put back
}

func TestReadingAllocatesNothing(t *testing.T) {
	path := logPath(t)
	appendTo(t, path, strings.Repeat("x", 1<<20))
	f := open(t, Options{Path: path, From: FromStart})
	defer f.Close()
	buf := make([]byte, 1000)
	ctx := t.Context()
	if n := testing.AllocsPerRun(500, func() {
		if c, err := f.Next(ctx, buf); err != nil || len(c.Data) != len(buf) {
			t.Fatal(len(c.Data), err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per chunk", n)
	}
}

func TestWritesToOtherFilesWakeNobody(t *testing.T) {
	path := logPath(t)
	appendTo(t, path, "one\n")
	s := subscribe(name{path: path})
	defer s.cancel()
	hear := func(name string) bool {
		select {
		case <-s.wake:
		default:
		}
		s.hub.route(fsnotify.Event{Name: filepath.Join(s.topic.dir(), name), Op: fsnotify.Write})
		select {
		case <-s.wake:
			return true
		default:
			return false
		}
	}
	for name, want := range map[string]bool{"app.log": true, "app.log.1": true, "app-error.log": false, "other.log": false} {
		if hear(name) != want {
			t.Errorf("a write to %s: woken is %v", name, !want)
		}
	}
}

func (t *topic) dir() string { return filepath.Dir(t.paths[0]) }

func BenchmarkAppend(b *testing.B) {
	for _, readers := range []int{1, 500} {
		b.Run(fmt.Sprint(readers, " readers"), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "app.log")
			w, err := os.Create(path)
			if err != nil {
				b.Fatal(err)
			}
			defer w.Close()
			got := make(chan struct{}, readers)
			var done sync.WaitGroup
			ctx, cancel := context.WithCancel(context.Background())
			for range readers {
				f := open(b, Options{Path: path})
				done.Go(func() {
					defer f.Close()
					for buf := make([]byte, 4096); ; {
						if _, err := f.Next(ctx, buf); err != nil {
							return
						}
						got <- struct{}{}
					}
				})
			}
			time.Sleep(10 * time.Millisecond)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = w.WriteString("a line of a log\n")
				for range readers {
					<-got
				}
			}
			cancel()
			done.Wait()
		})
	}
}
