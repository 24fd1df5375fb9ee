package backendtest_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/backend/backendtest"
)

// fault is one way to break the contract.
type fault struct {
	name string
	want string // part of the output when the kit finds the fault
}

var faults = []fault{
	{"none", ""},
	{"another key each time", "have the keys"},
	{"empty key", "Key is empty"},
	{"no line", "before it delivered a line"},
	{"ignores the sink's error", "not the sink's error"},
	{"ignores the input's error", "not the input's error"},
	{"leaves a goroutine", "after Stream has returned"},
	{"writes after it has returned", "after Stream had returned"},
	{"two goroutines write", "while another method of the same Input ran"},
	{"line break in an id", "the id has a line break"},
	{"opened once only", "before it delivered a line"},
}

// fake is a backend with a fault. Its upstream has the fault too.
type fake struct {
	fault string
	binds int
}

func (f *fake) Bind(*http.Request) (backend.Upstream, error) {
	f.binds++
	return &fakeUpstream{fake: f, n: f.binds}, nil
}

type fakeUpstream struct {
	*fake
	n      int
	opened int
}

func (u *fakeUpstream) Key() string {
	switch u.fault {
	case "another key each time":
		return fmt.Sprint(u.n)
	case "empty key":
		return ""
	}
	return backend.Key("fake")
}

func (u *fakeUpstream) Stream(ctx context.Context, _ string, sink backend.Sink) error {
	in, err := sink.Open("")
	if err != nil {
		if u.fault == "ignores the sink's error" {
			return nil
		}
		return err
	}
	u.opened++
	switch u.fault {
	case "no line":
		return nil
	case "opened once only":
		if u.opened > 1 {
			return nil
		}
	case "leaves a goroutine":
		go func() { select {} }()
	case "line break in an id":
		in.SetOffset(0, func(dst []byte, _ int64) []byte { return append(dst, "a\nb"...) })
	case "writes after it has returned":
		defer func() {
			go func() {
				time.Sleep(50 * time.Millisecond)
				_, _ = in.Write([]byte("late\n"))
			}()
		}()
	case "two goroutines write":
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 10_000 {
				_, _ = in.Write([]byte("a"))
			}
		}()
		for range 10_000 {
			_, _ = in.Write([]byte("b"))
		}
		<-done
	}
	if _, err := in.Write([]byte("a line\n")); err != nil {
		if u.fault == "ignores the input's error" {
			return nil
		}
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// TestConformance runs the kit on a fake. An environment variable names the fault. TestFaultsAreFound starts it in a process
// of its own.
func TestConformance(t *testing.T) {
	backendtest.Run(t, func(*testing.T) backend.Backend { return &fake{fault: os.Getenv("BACKENDTEST_FAULT")} })
}

func TestFaultsAreFound(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run", "^TestConformance$")
			cmd.Env = append(os.Environ(), "BACKENDTEST_FAULT="+f.name)
			out, err := cmd.CombinedOutput()
			if f.want == "" && err != nil || f.want != "" && (err == nil || !strings.Contains(string(out), f.want)) {
				t.Errorf("error %v, output without %q:\n%s", err, f.want, out)
			}
		})
	}
}
