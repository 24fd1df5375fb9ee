//go:build unix && !linux

package exec

import "syscall"

// dieWithParent does nothing: these systems cannot do that.
func dieWithParent(*syscall.SysProcAttr) {}

// hasOnlyZombies cannot find out, and returns false.
func hasOnlyZombies(int) bool { return false }
