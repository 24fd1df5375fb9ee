//go:build unix

package sse

import (
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"
)

const ptySupported = true

// processAttributes puts a command into a process group of its own, which what it starts belongs to, too.
func processAttributes(pty bool) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: !pty}
	if pty {
		// A session of its own is a process group of its own. The terminal is its standard output.
		attr.Setsid, attr.Setctty, attr.Ctty = true, true, 1
	}
	dieWithParent(attr)
	return attr
}

// terminate ends the command and its group: by SIGTERM, then by SIGKILL. A process group's id stays taken while
// there is anyone in it, so that no other group is meant by it.
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

// isGone is whether the command has been waited for and nobody of its group is left.
func (p *process) isGone(group int) bool {
	select {
	case <-p.exited:
	default:
		return false
	}
	// A server that is process 1, as in containers, inherits those whose parent has ended, and they stay as zombies
	// until somebody waits for them.
	for {
		if pid, err := syscall.Wait4(-group, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
			break
		}
	}
	return errors.Is(syscall.Kill(-group, 0), syscall.ESRCH) || hasOnlyZombies(group)
}

// openOutput returns a pipe, or a terminal that passes on each byte as it is.
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

// pollable is the same file in a form whose Read does not tie up a thread, and ends with Close.
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

// isEndOfTerminal is whether a read failed because nobody holds the other side of a terminal any more, which is how
// Linux says it.
func isEndOfTerminal(err error) bool { return errors.Is(err, syscall.EIO) }
