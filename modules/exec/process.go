package exec

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

// process is a running command with the processes that it has started.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr *os.File      // the read ends of its pipes
	exited         chan struct{} // closed when the command has exited and was waited for
	waitErr        error         // the result of Wait, valid after exited is closed
	gone           chan struct{} // closed when the processes that it has started have ended, too
}

// processes holds the running commands of this server.
var processes processSet

type processSet struct {
	mu   sync.Mutex
	stop map[*process]func()
}

// add adds a process, and the function that ends it.
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

// endAll ends all processes, and returns when they have ended.
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

// start starts a command. It makes the pipes for the output itself, because os/exec would wait for every process that holds one of its
// pipes.
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

// supervise waits for the command, or for the end of ctx. Then it ends the command and the processes that it has started, and waits
// for them.
func (p *process) supervise(ctx context.Context, stopTimeout func() time.Duration) {
	defer close(p.gone)
	select {
	case <-ctx.Done():
	case <-p.exited:
	}
	p.terminate(stopTimeout)
	// End the reads. A process outside of the command's group may still hold a pipe.
	_ = p.stdout.SetReadDeadline(time.Unix(1, 0))
	_ = p.stderr.SetReadDeadline(time.Unix(1, 0))
}

// After the processes have ended, the rest of a pipe is read, but not more than it can hold, and not for longer than drainTime:
// another process may hold the pipe and write to it for ever.
const (
	drainTime = time.Second
	drainSize = 1 << 20
)

// copy copies from a pipe to an input until no process can write to the pipe any more. If the input wants no more, copy cancels the
// command and discards the rest, so that the command does not block on a write while it ends.
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

// hurried is a pipe whose reads wait for drainTime at most.
type hurried struct{ pipe *os.File }

func (h hurried) Read(p []byte) (int, error) {
	if err := h.pipe.SetReadDeadline(time.Now().Add(drainTime)); err != nil {
		return 0, err
	}
	return h.pipe.Read(p)
}

// exitError returns the error for the command's exit, or nil.
func (p *process) exitError() error {
	var exit *exec.ExitError
	if errors.As(p.waitErr, &exit) {
		return fmt.Errorf("command ended with %s", exit) // such as "exit status 1", "signal: killed"
	}
	return p.waitErr
}
