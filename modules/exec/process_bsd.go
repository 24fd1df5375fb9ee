//go:build unix && !linux

package exec

import "syscall"

// dieWithParent does nothing: there is no such thing on these systems.
func dieWithParent(*syscall.SysProcAttr) {}

// hasOnlyZombies does not know.
func hasOnlyZombies(int) bool { return false }
