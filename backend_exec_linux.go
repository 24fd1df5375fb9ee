package sse

import "syscall"

// dieWithParent makes the command end with the server, whatever the server ends of. See start for what that takes.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
