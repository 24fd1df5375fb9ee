//go:build integration

package fleet

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// programs are built once: a Caddy with all stores, and a nats-server.
var programs struct {
	once        sync.Once
	caddy, nats string
	err         error
}

// build returns the paths of the programs.
func build(t *testing.T) (caddy, nats string) {
	t.Helper()
	p := &programs
	p.once.Do(func() {
		folder := filepath.Join(os.TempDir(), fmt.Sprintf("caddy-sse-fleet-%d", os.Getuid()))
		p.caddy, p.nats = filepath.Join(folder, "caddy"), filepath.Join(folder, "nats-server")
		for _, b := range []struct{ module, target, output string }{
			{"../../stores/cmd/caddy", ".", p.caddy},
			{"../../stores/nats/test", "github.com/nats-io/nats-server/v2", p.nats},
		} {
			command := exec.Command("go", "build", "-o", b.output, b.target)
			command.Dir = b.module
			if said, err := command.CombinedOutput(); err != nil {
				p.err = fmt.Errorf("building %s: %w: %s", b.output, err, said)
				return
			}
		}
	})
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.caddy, p.nats
}

// process is a program that can be killed, frozen and started again.
type process struct {
	t       testing.TB
	name    string
	path    string
	args    []string
	env     []string
	folder  string // it runs in
	address string // on which it accepts connections once it runs
	log     string

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
}

func newProcess(t testing.TB, name, address, path string, args ...string) *process {
	p := &process{t: t, name: name, path: path, args: args, address: address, log: filepath.Join(t.TempDir(), name+".log")}
	t.Cleanup(func() {
		p.kill()
		if said, err := os.ReadFile(p.log); err == nil && t.Failed() {
			t.Logf("%s said: %s", name, said[max(0, len(said)-6000):])
		}
	})
	return p
}

// start starts the process, and waits until it accepts connections.
func (p *process) start() {
	p.t.Helper()
	p.begin()
	wait(p.t, p.name+" to listen", func() bool {
		conn, err := net.DialTimeout("tcp", p.address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (p *process) begin() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.cmd = exec.Command(p.path, p.args...)
	p.cmd.Dir = p.folder
	p.cmd.Env = append(os.Environ(), p.env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	exited := make(chan struct{})
	p.exited = exited
	go func(cmd *exec.Cmd) { _ = cmd.Wait(); close(exited) }(p.cmd)
}

// signal sends a signal to the process, if it runs.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s)
	}
}

// kill ends the process at once, frozen or not.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	p.wait()
}

// wait waits until the process has ended.
func (p *process) wait() {
	p.mu.Lock()
	exited := p.exited
	p.cmd, p.exited = nil, nil
	p.mu.Unlock()
	if exited == nil {
		return
	}
	select {
	case <-exited:
	case <-time.After(patience):
		p.t.Errorf("%s does not end", p.name)
	}
}

// patience bounds the waits for servers that elect a leader, on a machine that has other work.
const patience = 2 * time.Minute

// wait waits until something is so.
func wait(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting for %s after %s", what, patience)
		}
	}
}
