package exec

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// dieWithParent makes the kernel kill the command when the server ends, for whatever reason. See commandStarter.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

// runStarter starts commands until there are no more requests.
func runStarter(requests <-chan startRequest) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	room := taskRoom{measure: taskLimits}
	for request := range requests {
		err := room.take(time.Now())
		if err == nil {
			err = request.cmd.Start()
		}
		if err == nil {
			leaveReserve(request.cmd.Process.Pid)
		}
		request.done <- err
	}
}

// leaveReserve lowers the command's own limit, so that its processes cannot take what is reserved for the server. The kernel counts all
// processes of a user, but each process has its own limit.
func leaveReserve(pid int) {
	var limit unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NPROC, nil, &limit); err != nil || limit.Cur > maxTasks {
		return
	}
	limit.Cur -= uint64(taskLimit{max: int(limit.Cur)}.reserve())
	limit.Max = min(limit.Max, limit.Cur)
	_ = unix.Prlimit(pid, unix.RLIMIT_NPROC, &limit, nil) // fails for a command with higher privileges
}

// waitFor waits for a command. os/exec alone would block a thread for each command.
func waitFor(cmd *exec.Cmd) error {
	awaitExit(cmd.Process)
	return cmd.Wait()
}

// awaitExit waits until the process has exited. It returns at once if it cannot wait without a thread: before Linux 5.4, or in a
// sandbox that forbids it.
func awaitExit(process *os.Process) {
	fd := -1
	err := process.WithHandle(func(handle uintptr) {
		fd, _ = unix.FcntlInt(handle, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err != nil || fd < 0 {
		return
	}
	if err := unix.SetNonblock(fd, true); err != nil { // needed for Go's poller
		unix.Close(fd)
		return
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	defer pidfd.Close()
	conn, err := pidfd.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Read(func(fd uintptr) bool { // a pidfd is readable when the process has exited: pidfd_open(2)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 || err != nil && err != unix.EINTR
	})
}

// hasOnlyZombies reports whether all processes in a group have exited, but were not waited for. The process that inherits them, such as
// process 1 in a container, may never wait for them.
func hasOnlyZombies(group int) bool {
	all, err := procfs.AllProcs()
	if err != nil {
		return false
	}
	found := false
	for _, p := range all {
		stat, err := p.Stat()
		if err != nil || stat.PGRP != group {
			continue // it has ended meanwhile, or is in another group
		}
		if stat.State != "Z" && stat.State != "X" {
			return false
		}
		found = true
	}
	return found
}
