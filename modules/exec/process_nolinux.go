//go:build !linux

package exec

import "os/exec"

// runStarter starts commands until there are no more requests. It does not know how much room the system's limits leave.
func runStarter(requests <-chan startRequest) {
	for request := range requests {
		request.done <- request.cmd.Start()
	}
}

// waitFor waits for a command. That takes a thread.
func waitFor(cmd *exec.Cmd) error { return cmd.Wait() }
