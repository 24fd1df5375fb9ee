//go:build !unix

package exec

import (
	"errors"
	"os"
	"syscall"
	"time"
)

const ptySupported = false

func processAttributes(bool) *syscall.SysProcAttr { return nil }

// terminate ends the command. Processes that it has started continue to run, because there are no signals and process groups.
func (p *process) terminate(func() time.Duration) {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

func openOutput(terminal bool) (reader, writer *os.File, err error) {
	if terminal {
		return nil, nil, errors.ErrUnsupported
	}
	return os.Pipe()
}

func isEndOfTerminal(error) bool { return false }
