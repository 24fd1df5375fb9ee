package exec

import (
	"bytes"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxTasks is the highest possible number of processes on Linux (PID_MAX_LIMIT). A limit above it has no effect.
const maxTasks = 1 << 22

// taskLimits returns the limits for this process that it can find out.
func taskLimits() []taskLimit {
	limits := cgroupLimits()
	if limit, ok := userLimit(); ok {
		limits = append(limits, limit)
	}
	if limit, ok := systemLimit(); ok {
		limits = append(limits, limit)
	}
	return limits
}

// userLimit returns RLIMIT_NPROC ("ulimit -u", systemd's LimitNPROC). It does not apply to root, see getrlimit(2).
func userLimit() (taskLimit, bool) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &limit); err != nil || limit.Cur > maxTasks || os.Getuid() == 0 {
		return taskLimit{}, false
	}
	return taskLimit{name: "RLIMIT_NPROC (ulimit -u)", max: int(limit.Cur), used: tasksOf(os.Getuid())}, true
}

// tasksOf counts the threads of all processes of a user.
func tasksOf(uid int) int {
	proc, err := os.Open("/proc")
	if err != nil {
		return 0
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	tasks := 0
	buf := make([]byte, 4<<10)
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		status, err := os.Open("/proc/" + name + "/status")
		if err != nil {
			continue // it has ended meanwhile
		}
		n, _ := status.Read(buf)
		status.Close()
		// The limit is for the real user, which is the first field of Uid, see proc_pid_status(5).
		if owner, ok := statusField(buf[:n], "Uid"); ok && owner == uid {
			threads, _ := statusField(buf[:n], "Threads")
			tasks += threads
		}
	}
	return tasks
}

// statusField returns the first number in a field. A process's name, which also is a field, cannot fake another one: its line breaks
// are escaped.
func statusField(status []byte, name string) (int, bool) {
	_, rest, found := bytes.Cut(status, []byte("\n"+name+":\t"))
	if !found {
		return 0, false
	}
	end := bytes.IndexAny(rest, "\t\n")
	if end < 0 {
		return 0, false
	}
	n, err := strconv.Atoi(string(rest[:end]))
	return n, err == nil
}

// cgroupRoot is where cgroups are mounted. In version 1, each controller has a folder below it.
const cgroupRoot = "/sys/fs/cgroup"

// cgroupLimits returns pids.max for the server's cgroup and all cgroups above it: systemd's TasksMax, or a container's limit.
func cgroupLimits() []taskLimit {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	var limits []taskLimit
	for line := range strings.Lines(string(text)) { // hierarchy:controllers:path, see cgroups(7)
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		mount := ""
		switch controllers {
		case "":
			mount = cgroupRoot
		case "pids":
			mount = cgroupRoot + "/pids"
		default:
			continue
		}
		// In a container, the path may exist on the host only. Then the container's own cgroup is the root.
		for group = path.Clean("/" + group); ; group = path.Dir(group) {
			if limit, ok := cgroupLimit(mount + group); ok {
				limits = append(limits, limit)
			}
			if group == "/" {
				break
			}
		}
	}
	return limits
}

func cgroupLimit(dir string) (taskLimit, bool) {
	most, ok := numberIn(path.Join(dir, "pids.max")) // no number if there is no limit
	if !ok {
		return taskLimit{}, false
	}
	used, ok := numberIn(path.Join(dir, "pids.current"))
	return taskLimit{name: "pids.max of the cgroup (systemd's TasksMax)", max: most, used: used}, ok
}

// systemLimit returns the limit of the whole system.
func systemLimit() (taskLimit, bool) {
	threads, ok1 := numberIn("/proc/sys/kernel/threads-max")
	pids, ok2 := numberIn("/proc/sys/kernel/pid_max")
	text, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	if !ok1 || !ok2 || err != nil || len(fields) < 4 {
		return taskLimit{}, false
	}
	_, total, _ := strings.Cut(fields[3], "/") // runnable and all tasks, see proc_loadavg(5)
	used, err := strconv.Atoi(total)
	return taskLimit{name: "kernel.threads-max or kernel.pid_max", max: min(threads, pids), used: used}, err == nil
}

func numberIn(file string) (int, bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return n, err == nil
}
