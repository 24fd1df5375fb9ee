package exec

import (
	"os/exec"
	"sync"
)

// commandStarter starts the commands of this server, one after the other, all on one thread.
//
// The kernel's "die with your parent" (see dieWithParent) means the thread that started a command, not its process. A
// goroutine that is locked to its thread keeps that thread alive for as long as there are commands. All commands share it:
// with a thread each, the server would reach its limit of threads, where Go's runtime aborts.
type commandStarter struct {
	mu       sync.Mutex
	commands int // that are starting or running
	requests chan startRequest
}

type startRequest struct {
	cmd  *exec.Cmd
	done chan error
}

// commands starts the commands of this process.
var commands commandStarter

// start starts a command, if there is room for it. Once the command has been waited for, ended must be called.
func (s *commandStarter) start(cmd *exec.Cmd) error {
	s.mu.Lock()
	if s.commands == 0 {
		s.requests = make(chan startRequest)
		go runStarter(s.requests)
	}
	s.commands++
	requests := s.requests
	s.mu.Unlock()

	request := startRequest{cmd: cmd, done: make(chan error)}
	requests <- request
	err := <-request.done
	if err != nil {
		s.ended()
	}
	return err
}

func (s *commandStarter) ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands--
	if s.commands == 0 {
		close(s.requests)
	}
}
