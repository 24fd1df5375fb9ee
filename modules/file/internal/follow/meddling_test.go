package follow

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLineThatIsHalfWrittenWhenItsFileIsCopiedAndCutIsKept(t *testing.T) {
	path, r := readOne(t)
	appendTo(t, path, "half of")
	copyAndCut(t, path)
	appendTo(t, path, " a line\nthe third\n")
	r.want("half of", " a line", "the third") // the rest is in another file
	if r.gaps+r.truncated != 0 {
		t.Error("told of a loss")
	}
}

func TestFileThatIsCompressedWhileItIsReadIsReadToItsEnd(t *testing.T) {
	path, r := readOne(t)
	appendTo(t, path, "the second\n")
	tick()
	rotate(t, path)
	appendTo(t, path, "the third\n")
	info, err := os.Stat(path + ".1")
	must(t, err)
	appendTo(t, path+".1.gz", "\x1f\x8b\x08")
	must(t, os.Chtimes(path+".1.gz", info.ModTime(), info.ModTime()))
	must(t, os.Remove(path+".1"))
	r.want("the second", "the third")

	again := follow(t, Options{Path: path, Resume: &Position{Generation: newGeneration(1, []byte("the first line of all\n")).String(), Offset: 22}})
	again.want("the third")
	if r.gaps != 0 || again.gaps != 1 {
		t.Errorf("told of %d gaps, and of %d after a resume", r.gaps, again.gaps)
	}
}

func TestHardLinkToTheLogIsNoOtherFile(t *testing.T) {
	path, r := readOne(t)
	must(t, os.Link(path, path+".20261124"))
	appendTo(t, path, "the second\n")
	r.want("the second")
	at := r.at
	tick()
	must(t, os.Link(path, path+".1")) // rotation by link and unlink
	must(t, os.Remove(path))
	appendTo(t, path, "the third\n")
	r.want("the third")
	tick()
	must(t, os.Rename(path, path+".0"))
	appendTo(t, path, "the fourth\n")
	r.want("the fourth")
	again := follow(t, Options{Path: path, Resume: &at})
	again.want("the third", "the fourth")
	if r.gaps+again.gaps != 0 {
		t.Errorf("told of %d gaps, and of %d after a resume", r.gaps, again.gaps)
	}
}

// As editors and sed -i save. It is another file, and nobody knows which of its lines are new.
func TestFileThatIsReplacedIsReadFromItsStart(t *testing.T) {
	path, r := readOne(t)
	appendTo(t, path, "the second\n")
	saved := filepath.Join(filepath.Dir(path), ".app.log.swp")
	appendTo(t, saved, "the first, edited\nthe third\n")
	must(t, os.Rename(saved, path))
	r.want("the second", "the first, edited", "the third")
	if r.gaps+r.truncated != 0 {
		t.Error("told of a loss")
	}
}

func TestBannerThatIsWrittenAnewIsNotSentAgain(t *testing.T) {
	path, r := readOne(t)
	must(t, os.WriteFile(path, []byte("the first line of all\n"), 0o644)) // cuts it
	appendTo(t, path, "the second\n")
	r.want("the second")
	if r.gaps+r.truncated != 0 {
		t.Error("told of a loss")
	}
}
