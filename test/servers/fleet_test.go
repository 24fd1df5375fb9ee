//go:build integration

package servers_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// fleetPrograms builds a Caddy with all stores, and a nats-server: the one of Debian is older than 2.11.
func fleetPrograms(t *testing.T) (caddy, natsServer string) {
	t.Helper()
	dir := filepath.Dir(caddyBinary)
	caddy, natsServer = filepath.Join(dir, "caddy-with-stores"), filepath.Join(dir, "nats-server")
	for _, b := range []struct{ file, module, of string }{
		{caddy, "../../stores/cmd/caddy", "."},
		{natsServer, "../../stores/nats/test", "github.com/nats-io/nats-server/v2"},
	} {
		if _, err := os.Stat(b.file); err == nil {
			continue // another test has built it
		}
		build := exec.Command("go", "build", "-o", b.file, b.of)
		build.Dir = b.module
		if said, err := build.CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", b.of, err, said)
		}
	}
	return caddy, natsServer
}

// freePorts returns a port that is free, as are the 50 after it.
func freePorts(t *testing.T) (first int) {
	t.Helper()
	for first = 21000; first < 32000; first += 60 { // below those that the system gives out
		isFree := true
		for port := first; isFree && port <= first+50; port++ {
			listener, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
			if isFree = err == nil; isFree {
				listener.Close()
			}
		}
		if isFree {
			return first
		}
	}
	t.Fatal("there are no free ports")
	return 0
}

func TestAFleetsStreamGoesOnWhileOneProcessAfterTheOtherIsKilled(t *testing.T) {
	caddy, natsServer := fleetPrograms(t)
	program(t, "curl") // which the script needs
	dir := t.TempDir()
	cmd := exec.Command(program(t, "sh"), "../../examples/fleet/run")
	cmd.Env = append(os.Environ(), "CADDY="+caddy, "NATS_SERVER="+natsServer, fmt.Sprint("FLEET_PORT=", freePorts(t)), "TMPDIR="+dir)
	fleet := startCommand(t, cmd)
	select {
	case <-fleet.exited:
	case <-time.After(5 * time.Minute):
		t.Fatal("the script has not ended after five minutes")
	}
	said := fleet.output.String()
	if fleet.err != nil {
		t.Errorf("the script ended with %v", fleet.err)
	}
	for _, name := range []string{"caddy-1", "caddy-2", "caddy-3", "nats-1", "nats-2", "nats-3"} {
		if strings.Count(said, "== killing "+name) != 1 || strings.Count(said, "== "+name+" is back") != 1 {
			t.Errorf("%s was not killed and started once", name)
		}
	}
	if found := regexp.MustCompile(`(?m)^browser [123]: [1-9][0-9]+ events, 0 missing, 0 twice$`).FindAllString(said, -1); len(found) != 3 {
		t.Errorf("the browsers have got %q", found)
	}
	if strings.Contains(said, "sse-gap") {
		t.Error("a browser has a gap")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
	if left := processesOf(t, caddy, natsServer); len(left) > 0 {
		t.Errorf("processes are left: %q", left)
	}
}

// processesOf returns the command lines of the processes that run one of these programs.
func processesOf(t *testing.T, programs ...string) (found []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		line, _ := os.ReadFile(file) // it may have ended
		for _, program := range programs {
			if name, _, _ := strings.Cut(string(line), "\x00"); name == program {
				found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
			}
		}
	}
	return found
}
