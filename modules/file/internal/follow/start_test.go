package follow

import (
	"context"
	"errors"
	"os"
	"testing"
)

// zeros counts what is read of a file of nothing but zeros.
type zeros struct{ read int64 }

func (z *zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	if z.read += int64(len(p)); z.read > 2*farthest {
		return 0, errors.New("read too far")
	}
	return len(p), nil
}

func TestLastLinesOfASparseFileAreLookedForWithinABound(t *testing.T) {
	z := new(zeros)
	const size = 200 << 30
	at, err := Last(10).offset(context.Background(), z, size)
	if err != nil || at != size || z.read > farthest {
		t.Errorf("begins at %d after %d bytes, %v", at, z.read, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Last(10).offset(ctx, z, size); !errors.Is(err, context.Canceled) {
		t.Errorf("goes on after its client has left: %v", err)
	}
}

func TestResumeInAFileThatWasCutAndBeginsAsBeforeIsAGap(t *testing.T) {
	path := logPath(t)
	banner := string(make([]byte, headSize)) + "\n"
	appendTo(t, path, banner+"one\n")
	r := follow(t, Options{Path: path, From: FromStart})
	r.want(banner[:headSize], "one")
	must(t, os.Truncate(path, 0))
	appendTo(t, path, banner+"line2 SECRET password=x\n")
	again := follow(t, Options{Path: path, Resume: &r.at})
	again.want(banner[:headSize], "line2 SECRET password=x")
	if again.gaps != 1 {
		t.Errorf("told of %d gaps", again.gaps)
	}
}

func TestFileThatIsAloneHasNoRotatedFiles(t *testing.T) {
	path := logPath(t)
	appendTo(t, path, "mine\n")
	r := follow(t, Options{Path: path, From: FromStart, Alone: true})
	r.want("mine")
	must(t, os.Rename(path, path+"-12345678"))
	appendTo(t, path, "new\n")
	again := follow(t, Options{Path: path, Resume: &r.at, Alone: true})
	again.want("new")
	if again.gaps != 1 {
		t.Errorf("told of %d gaps", again.gaps)
	}
}
