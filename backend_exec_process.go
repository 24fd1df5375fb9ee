package sse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/backend"
)

// process is a command that runs, with all that it has started.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr *os.File      // what it writes
	exited         chan struct{} // closed when the command has been waited for
	waitErr        error         // then: how it ended
	gone           chan struct{} // closed when all that it has started have ended, too
}

// processes are those of this server that run.
var processes processSet

type processSet struct {
	mu   sync.Mutex
	stop map[*process]func()
}

// add takes what ends the process.
func (set *processSet) add(p *process, stop func()) {
	set.mu.Lock()
	defer set.mu.Unlock()
	if set.stop == nil {
		set.stop = make(map[*process]func())
	}
	set.stop[p] = stop
}

func (set *processSet) remove(p *process) {
	set.mu.Lock()
	defer set.mu.Unlock()
	delete(set.stop, p)
}

// endAll ends all of them, and returns when they have ended.
func (set *processSet) endAll() {
	set.mu.Lock()
	var ending []*process
	for p, stop := range set.stop {
		stop()
		ending = append(ending, p)
	}
	set.mu.Unlock()
	for _, p := range ending {
		<-p.gone
	}
}

// start starts a command. What it writes goes through pipes of our own, not of os/exec, which would wait for
// everyone who holds them.
func start(cmd *exec.Cmd, pty bool) (*process, error) {
	stderr, errWriter, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer errWriter.Close()
	stdout, outWriter, err := openOutput(pty)
	if err != nil {
		stderr.Close()
		return nil, err
	}
	defer outWriter.Close()
	cmd.Stdout, cmd.Stderr = outWriter, errWriter
	cmd.SysProcAttr = processAttributes(pty)
	p := &process{cmd: cmd, stdout: stdout, stderr: stderr, exited: make(chan struct{}), gone: make(chan struct{})}

	if err := commands.start(cmd); err != nil {
		stdout.Close()
		stderr.Close()
		return nil, err
	}
	go func() {
		p.waitErr = waitFor(cmd)
		commands.ended()
		close(p.exited)
	}()
	return p, nil
}

// supervise returns when the command and all that it has started have ended. When ctx ends, it sees to that.
func (p *process) supervise(ctx context.Context, stopTimeout func() time.Duration) {
	defer close(p.gone)
	select {
	case <-ctx.Done():
	case <-p.exited:
	}
	p.terminate(stopTimeout)
	// Wakes up the reads: there may still be someone who holds a pipe, though not of the command's group.
	_ = p.stdout.SetReadDeadline(time.Unix(1, 0))
	_ = p.stderr.SetReadDeadline(time.Unix(1, 0))
}

// What is still in a pipe is read when all who have ended can have written to it, though for no longer than this
// and no more than a pipe can hold: someone else may have the pipe and write to it for ever.
const (
	drainTime = time.Second
	drainSize = 1 << 20
)

// copy writes what comes through the pipe to an input, until there is nobody left who writes. If nobody wants more,
// it cancels the command, and reads on: a command that has something to say about its end must not be stuck in it.
func (p *process) copy(to io.Writer, pipe *os.File, cancel func()) error {
	w := &backend.Writer{To: to}
	err := backend.Copy(w, pipe, backend.ReadSize)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = backend.Copy(w, io.LimitReader(hurried{pipe}, drainSize), backend.ReadSize)
	}
	if w.Err != nil {
		cancel()
		_, _ = io.Copy(io.Discard, pipe)
		return w.Err
	}
	if isEndOfTerminal(err) || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

// hurried reads what is there.
type hurried struct{ pipe *os.File }

func (h hurried) Read(p []byte) (int, error) {
	if err := h.pipe.SetReadDeadline(time.Now().Add(drainTime)); err != nil {
		return 0, err
	}
	return h.pipe.Read(p)
}

// exitError is why the command's end is a failure.
func (p *process) exitError() error {
	var exit *exec.ExitError
	if errors.As(p.waitErr, &exit) {
		return fmt.Errorf("command ended with %s", exit) // such as "exit status 1", "signal: killed"
	}
	return p.waitErr
}
