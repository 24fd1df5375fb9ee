//go:build !linux

package exec

import "os/exec"

// runStarter starts commands until there are no more requests. It does not check the system's limits.
func runStarter(requests <-chan startRequest) {
	for request := range requests {
		request.done <- request.cmd.Start()
	}
}

// waitFor waits for a command. That blocks a thread.
func waitFor(cmd *exec.Cmd) error { return cmd.Wait() }
