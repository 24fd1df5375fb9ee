package sse

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dieWithParent makes the command end with the server, whatever the server ends of. See commandStarter for what that
// takes.
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

// leaveReserve keeps a command's own processes from taking what is kept free for the server: the limit of processes for
// each user is counted for all alike, but each process has a limit of its own.
func leaveReserve(pid int) {
	var limit unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NPROC, nil, &limit); err != nil || limit.Cur > maxTasks {
		return
	}
	limit.Cur -= uint64(taskLimit{max: int(limit.Cur)}.reserve())
	limit.Max = min(limit.Max, limit.Cur)
	_ = unix.Prlimit(pid, unix.RLIMIT_NPROC, &limit, nil) // a command with rights of its own has its own limits, too
}

// waitFor waits for a command without a thread, which os/exec would block in the wait for each command.
func waitFor(cmd *exec.Cmd) error {
	awaitExit(cmd.Process)
	return cmd.Wait()
}

// awaitExit returns when the process has exited, or when it cannot be told without a thread: the kernel is older than
// Linux 5.4, or a sandbox forbids it.
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

// hasOnlyZombies is whether all of a process group are dead, but not waited for by the process that inherited them,
// which in a container may never do it (proc_pid_stat(5)).
func hasOnlyZombies(group int) bool {
	proc, err := os.Open("/proc")
	if err != nil {
		return false
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return false
	}
	found := false
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // it has ended meanwhile
		}
		// The command's name, in parentheses, may hold anything. State, parent and group follow it.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 3 || string(fields[2]) != strconv.Itoa(group) {
			continue
		}
		if state := fields[0][0]; state != 'Z' && state != 'X' {
			return false
		}
		found = true
	}
	return found
}
