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

// dieWithParent makes the command end with the server, however the server ends. See commandStarter for what that takes.
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

// leaveReserve keeps a command's own processes from taking what is kept free for the server. All processes of a user count,
// but each process has a limit of its own.
func leaveReserve(pid int) {
	var limit unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NPROC, nil, &limit); err != nil || limit.Cur > maxTasks {
		return
	}
	limit.Cur -= uint64(taskLimit{max: int(limit.Cur)}.reserve())
	limit.Max = min(limit.Max, limit.Cur)
	_ = unix.Prlimit(pid, unix.RLIMIT_NPROC, &limit, nil) // fails for a command with rights of its own, which has its own limits, too
}

// waitFor waits for a command. os/exec would block a thread for each; this does not.
func waitFor(cmd *exec.Cmd) error {
	awaitExit(cmd.Process)
	return cmd.Wait()
}

// awaitExit returns when the process has exited, or at once if that cannot be known without a thread: on a kernel older
// than Linux 5.4, or where a sandbox forbids it.
func awaitExit(process *os.Process) {
	fd := -1
	err := process.WithHandle(func(handle uintptr) {
		fd, _ = unix.FcntlInt(handle, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err != nil || fd < 0 {
		return
	}
	if err := unix.SetNonblock(fd, true); err != nil { // or os would not hand it to the poller
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

// hasOnlyZombies reports whether all of a process group are dead, but not waited for. The process that inherited them, such
// as a container's, may never do that.
func hasOnlyZombies(group int) bool {
	all, err := procfs.AllProcs()
	if err != nil {
		return false
	}
	found := false
	for _, p := range all {
		stat, err := p.Stat()
		if err != nil || stat.PGRP != group {
			continue // it has ended meanwhile, or is another's
		}
		if stat.State != "Z" && stat.State != "X" {
			return false
		}
		found = true
	}
	return found
}
