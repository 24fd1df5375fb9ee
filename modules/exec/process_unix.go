//go:build unix

package exec

import (
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"
)

const ptySupported = true

// processAttributes puts a command, and so all processes that it starts, into its own process group.
func processAttributes(pty bool) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: !pty}
	if pty {
		// A new session is a new process group, too. The terminal is standard output.
		attr.Setsid, attr.Setctty, attr.Ctty = true, true, 1
	}
	dieWithParent(attr)
	return attr
}

// terminate ends the command and its group with SIGTERM, and then with SIGKILL. No other group can get the same id while this one has
// a process.
func (p *process) terminate(timeout func() time.Duration) {
	group := p.cmd.Process.Pid
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if p.isGone(group) {
			return
		}
		_ = syscall.Kill(-group, sig)
		began := time.Now()
		for wait := time.Millisecond; time.Since(began) < timeout(); wait = min(2*wait, 50*time.Millisecond) {
			select {
			case <-p.exited:
				if p.isGone(group) {
					return
				}
				time.Sleep(wait)
			case <-time.After(min(wait*20, timeout()-time.Since(began))):
			}
		}
	}
	<-p.exited
}

// isGone reports whether the command has been waited for and its group is empty.
func (p *process) isGone(group int) bool {
	select {
	case <-p.exited:
	default:
		return false
	}
	// If the server is process 1, as in a container, it inherits processes whose parent has exited. They stay zombies until it
	// waits for them.
	for {
		if pid, err := syscall.Wait4(-group, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
			break
		}
	}
	return errors.Is(syscall.Kill(-group, 0), syscall.ESRCH) || hasOnlyZombies(group)
}

// openOutput returns a pipe, or a terminal that does not change the output.
func openOutput(terminal bool) (reader, writer *os.File, err error) {
	if !terminal {
		return os.Pipe()
	}
	ours, theirs, err := pty.Open()
	if err != nil {
		return nil, nil, err
	}
	defer ours.Close()
	// No echo, and LF stays LF.
	if _, err = term.MakeRaw(int(theirs.Fd())); err == nil {
		err = pty.Setsize(ours, &pty.Winsize{Rows: 24, Cols: 4096})
	}
	if err == nil {
		reader, err = pollable(ours)
	}
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return reader, theirs, nil
}

// pollable returns a duplicate of the file. Its Read does not block a thread, and ends with Close.
func pollable(f *os.File) (*os.File, error) {
	syscall.ForkLock.RLock()
	fd, err := syscall.Dup(int(f.Fd()))
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, err
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		syscall.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// isEndOfTerminal reports whether a read failed because no process holds the other side of the terminal any more. On Linux, the error is
// EIO.
func isEndOfTerminal(err error) bool { return errors.Is(err, syscall.EIO) }
