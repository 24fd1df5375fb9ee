package exec

import (
	"os/exec"
	"sync"
)

// commandStarter starts all commands of this server, one after the other, on one thread.
//
// With dieWithParent, the kernel kills a command when the thread that started it ends, not when the process ends. So a goroutine that
// is locked to its thread keeps the thread alive while there are commands. All commands share the thread: with one thread for each
// command, the server would reach the limit on threads, where Go's runtime aborts.
type commandStarter struct {
	mu       sync.Mutex
	commands int // the number of commands that are starting or running
	requests chan startRequest
}

type startRequest struct {
	cmd  *exec.Cmd
	done chan error
}

// commands is the starter for all commands in this process.
var commands commandStarter

// start starts a command if there is room for it. After the command has been waited for, call ended.
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
