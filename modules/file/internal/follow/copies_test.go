package follow

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

// copyAndCut is what logrotate's copytruncate does.
func copyAndCut(t *testing.T, path string) {
	t.Helper()
	for n := 8; n > 0; n-- {
		if err := os.Rename(fmt.Sprint(path, ".", n), fmt.Sprint(path, ".", n+1)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	copyFile(t, path, path+".1")
	must(t, os.Truncate(path, 0))
}

// hook runs do once, when an open file for which match is true is identified.
func hook(t *testing.T, match func(path string) bool, do func()) {
	var once sync.Once
	replaceBirth(t, func(info os.FileInfo, f *os.File, path string) int64 {
		if f != nil && match(path) {
			once.Do(do)
		}
		return systemBirth(info, f, path)
	})
}

// readOne is a log of which one line has been read, and its position.
func readOne(t *testing.T) (path string, r *reader) {
	path = logPath(t)
	appendTo(t, path, "the first line of all\n")
	r = follow(t, Options{Path: path, From: FromStart})
	r.want("the first line of all")
	return path, r
}

func TestResumeFindsTheFirstOfSeveralCopies(t *testing.T) {
	path, r := readOne(t)
	appendTo(t, path, "the second\n")
	tick()
	copyAndCut(t, path)
	appendTo(t, path, "the third\n")
	tick()
	rotate(t, path)
	appendTo(t, path, "the fourth\n")
	tick()
	copyFile(t, path+".2", path+".20261124") // later than the third line, which would be left out after it
	again := follow(t, Options{Path: path, Resume: &r.at})
	again.want("the second", "the third", "the fourth")
}

func TestResumeFindsTheLongestOfSeveralCopies(t *testing.T) {
	path, r := readOne(t)
	copyFile(t, path, path+".20261124")
	appendTo(t, path, "the second\n")
	copyAndCut(t, path)
	appendTo(t, path, "the third\n")
	later(t, path+".20261124")
	again := follow(t, Options{Path: path, Resume: &r.at})
	again.want("the second", "the third")
}

func TestLinesBetweenTwoTruncationsAreAGap(t *testing.T) {
	path, r := readOne(t)
	must(t, os.Truncate(path, 0))
	appendTo(t, path, "the second\n")
	copyAndCut(t, path)
	appendTo(t, path, "the third\n")
	r.want("the third")
	if r.gaps != 1 {
		t.Errorf("told of %d gaps", r.gaps)
	}
}

func TestLinesOfAFileThatWasSeenEmptyBeforeAndAfterAreAGap(t *testing.T) {
	for name, begun := range map[string]bool{"copied since": false, "the copy had begun": true} {
		t.Run(name, func(t *testing.T) {
			path, r := readOne(t)
			must(t, os.Truncate(path, 0))
			if begun {
				appendTo(t, path+".1", "the")
			}
			for r.truncated == 0 && r.step(patient) {
			}
			gaps := r.gaps
			appendTo(t, path, "the second\n")
			tick()
			copyFile(t, path, path+".1")
			must(t, os.Truncate(path, 0))
			appendTo(t, path, "the third\n")
			// Without a look in between: the follower has not been asked.
			r.want("the third")
			if r.gaps != gaps+1 {
				t.Errorf("told of %d gaps", r.gaps-gaps)
			}
		})
	}
}

func TestFileThatWasCutAndRemovedIsFollowedByThoseThatCameLater(t *testing.T) {
	path, r := readOne(t)
	must(t, os.Truncate(path, 0))
	must(t, os.Remove(path))
	tick()
	appendTo(t, path, "the second\n")
	tick()
	rotate(t, path)
	appendTo(t, path, "the third\n")
	r.want("the second", "the third")
}

func TestInodeNumberOfTheFileBeforeIsUsedAgain(t *testing.T) {
	path, r := readOne(t)
	must(t, os.Rename(path, path+"-aside"))
	appendTo(t, path, "the second of all\n")
	r.want("the second of all")
	appendTo(t, path, "the third\n")
	copyAndCut(t, path)
	tick()
	appendTo(t, path, "the fourth\n")
	copyFile(t, path, path+"-aside") // as if it had been removed, and its number used again
	must(t, os.Rename(path+".1", path+".2"))
	must(t, os.Rename(path+"-aside", path+".1"))
	must(t, os.Truncate(path, 0))
	appendTo(t, path, "the fifth\n")
	r.want("the third", "the fourth", "the fifth")
	if r.gaps != 0 {
		t.Errorf("told of %d gaps", r.gaps)
	}
}

func TestCopyThatHasTheInodeNumberOfTheLostFileIsNotSent(t *testing.T) {
	path := threeLogs(t)
	r := follow(t, Options{Path: path, From: FromStart})
	r.want("a line of the current")
	r.f.Close()
	must(t, os.Rename(path, path+".20261124"))
	copyFile(t, path+".2", path+".20261124")
	appendTo(t, path, "a line of the next\n")
	again := follow(t, Options{Path: path, Resume: &r.at})
	again.want("a line of the next")
	if again.gaps != 1 {
		t.Errorf("told of %d gaps", again.gaps)
	}
}

func TestCopyIsFoundWhileItIsRenamed(t *testing.T) {
	path, r := readOne(t)
	copyFile(t, path, path+".11")
	tick()
	appendTo(t, path, "the second\n")
	copyAndCut(t, path)
	appendTo(t, path, "the third\n")
	hook(t, func(name string) bool { return name == path+".11" }, func() {
		must(t, os.Rename(path+".1", path+".2"))
	})
	r.want("the second", "the third")
}

func TestCopyThatWasMadeEarlierIsFollowedByTheWholeOne(t *testing.T) {
	path, r := readOne(t)
	appendTo(t, path, "the second\nthe thi")
	tick()
	copyFile(t, path, path+".20261124")
	appendTo(t, path, "rd\nthe fourth\n")
	tick()
	copyFile(t, path, path+"-aside")
	must(t, os.Truncate(path, 0))
	r.until("the second")
	must(t, os.Rename(path+"-aside", path+".1"))
	appendTo(t, path, "the fifth\n")
	r.want("the second", "the third", "the fourth", "the fifth")
	if r.gaps != 0 {
		t.Errorf("told of %d gaps", r.gaps)
	}
}

func TestCopyThatIsWrittenOverWhileItIsReadIsAGap(t *testing.T) {
	path := threeLogs(t)
	r := follow(t, Options{Path: path, From: FromStart})
	r.buf = make([]byte, 30)
	r.want("a line of the current")
	appendTo(t, path, "a line that is read in the copy\na line that is lost\n")
	copyFile(t, path, path+".20261124")
	must(t, os.Truncate(path, 0))
	r.step(patient)
	copyFile(t, path+".2", path+".20261124")
	appendTo(t, path, "a line of the next\n")
	r.want("a line of the next")
	if r.gaps != 1 {
		t.Errorf("told of %d gaps", r.gaps)
	}
}

func TestFileThatIsCopiedAndCutWhileItIsOpenedComesAfterItsCopy(t *testing.T) {
	path, r := readOne(t)
	hook(t, func(name string) bool { return name == path }, func() {
		must(t, os.Rename(path+".1", path+".2"))
		copyFile(t, path, path+".1")
		must(t, os.Truncate(path, 0))
		appendTo(t, path, "the third\n")
	})
	rotate(t, path)
	tick()
	appendTo(t, path, "the second\n")
	r.until("the third")
	// If the census saw the copy before the file was cut, the copy may be another file's. Then there is a gap.
	if r.gaps > 0 && len(r.lines) == 1 {
		return
	}
	r.want("the second", "the third")
}

// The census is of another file by then.
func TestFileThatHasJustBeenRotatedTakesNothingForACopy(t *testing.T) {
	path, r := readOne(t)
	rotate(t, path)
	appendTo(t, path, "the second, which is longer than the first\n")
	tick()
	rotate(t, path)
	appendTo(t, path, "the third\n")
	seen(t, path, path+".1")
	waitForEra(t, path, path)
	r.f.lookForCopies()
	if n := len(r.f.before) + len(r.f.beside(r.f.file)); n > 0 {
		t.Errorf("%d files are taken for older ones", n)
	}
	r.want("the second, which is longer than the first", "the third")
}
