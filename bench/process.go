package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// clockTick is USER_HZ, the unit of times in /proc. It is a hundredth of a second on every Linux that Go supports.
const clockTick = 10 * time.Millisecond

// maxOpenFiles is enough for a server with 10,000 clients and an upstream for each.
const maxOpenFiles = 32 << 10

// raiseOpenFiles raises the limit of open files for the servers. If that is not allowed, scenarios that need more fail with an error.
func raiseOpenFiles() {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return
	}
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: maxOpenFiles, Max: max(maxOpenFiles, limit.Max)}) != nil {
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit.Max, Max: limit.Max})
	}
}

// process is a command in its own process group, with the processes that it starts.
type process struct {
	name   string
	cmd    *exec.Cmd
	stdout io.Reader
	stderr string
	ended  chan struct{}
	once   sync.Once
}

// start runs a command in dir, and keeps its standard error there.
func start(dir, name string, command ...string) (*process, error) {
	p := &process{name: name, cmd: exec.Command(command[0], command[1:]...), ended: make(chan struct{})}
	p.cmd.Dir = dir
	// A Caddy must not use the user's folders.
	p.cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	// If this command is killed, the kernel tells the group's leader to end.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	p.stderr = filepath.Join(dir, name+".log")
	log, err := os.Create(p.stderr)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Stderr = log
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer write.Close()
	p.stdout, p.cmd.Stdout = read, write
	if err := p.cmd.Start(); err != nil {
		read.Close()
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	if name != "swarm" {
		go func() { _, _ = io.Copy(io.Discard, read) }()
	}
	go func() {
		_ = p.cmd.Wait() // its output shows how it ended
		close(p.ended)
	}()
	return p, nil
}

// stop ends the whole group and waits for its leader.
func (p *process) stop() {
	p.once.Do(func() {
		group := -p.cmd.Process.Pid
		_ = syscall.Kill(group, syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(3 * time.Second):
		}
		_ = syscall.Kill(group, syscall.SIGKILL)
		<-p.ended
	})
}

// begin tells a waiting emitter to start its feed.
func (p *process) begin() { _ = p.cmd.Process.Signal(syscall.SIGUSR1) }

// ready waits until the process accepts connections.
func (p *process) ready(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.ended:
			return errors.Join(fmt.Errorf("the %s ended at once", p.name), p.logged())
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("the %s does not listen: %w", p.name, err), p.logged())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// log returns the end of the process's standard error.
func (p *process) log() string {
	b, _ := os.ReadFile(p.stderr)
	b = bytes.TrimSpace(b)
	return string(b[max(0, len(b)-600):])
}

func (p *process) logged() error {
	if said := p.log(); said != "" {
		return fmt.Errorf("%s: %s", p.name, said)
	}
	return nil
}

// cpu returns the user and system time of all processes in the group.
func (p *process) cpu() time.Duration {
	var ticks int64
	p.each(func(dir string, stat []string) {
		user, _ := strconv.ParseInt(stat[11], 10, 64)
		system, _ := strconv.ParseInt(stat[12], 10, 64)
		ticks += user + system
	})
	return time.Duration(ticks) * clockTick
}

// memory returns the resident memory of all processes in the group, in bytes.
func (p *process) memory() int64 {
	var total int64
	p.each(func(dir string, _ []string) {
		status, _ := os.ReadFile(filepath.Join(dir, "status"))
		for line := range strings.Lines(string(status)) {
			if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				kib, _ := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
				total += kib << 10
			}
		}
	})
	return total
}

// each calls f for each process in the group, with the fields of its stat file after the command's name (proc_pid_stat(5), from field 3
// on).
func (p *process) each(f func(dir string, stat []string)) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		content, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // it has ended meanwhile
		}
		fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
		if len(fields) > 12 && fields[2] == strconv.Itoa(p.cmd.Process.Pid) {
			f(dir, fields)
		}
	}
}

// busy returns the time that the machine's cores have worked for any process, or were withheld by its host (proc_stat(5): user, nice,
// system and steal).
func busy() time.Duration {
	content, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(content), "\n")
	var ticks int64
	for i, field := range strings.Fields(line) {
		switch i {
		case 1, 2, 3, 8:
			n, _ := strconv.ParseInt(field, 10, 64)
			ticks += n
		}
	}
	return time.Duration(ticks) * clockTick
}
