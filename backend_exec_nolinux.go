//go:build !linux

package sse

import "os/exec"

// runStarter starts commands until there are no more requests. How much room the system's limits leave is not known
// here.
func runStarter(requests <-chan startRequest) {
	for request := range requests {
		request.done <- request.cmd.Start()
	}
}

// waitFor waits for a command, which takes a thread here.
func waitFor(cmd *exec.Cmd) error { return cmd.Wait() }
