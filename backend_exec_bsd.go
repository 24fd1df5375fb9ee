//go:build unix && !linux

package sse

import "syscall"

// dieWithParent does nothing: there is no such thing here.
func dieWithParent(*syscall.SysProcAttr) {}

// hasOnlyZombies is not known here.
func hasOnlyZombies(int) bool { return false }
