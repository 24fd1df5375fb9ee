package ssetest

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// waitListeners waits until the listeners of the previous config are closed.
//
// Caddy opens new listeners for each config, on the same ports (SO_REUSEPORT), and closes the old ones some time after it has loaded
// the new config. The kernel resets the connections in the queue of a closed listener, so a client that connects meanwhile may
// fail.
func (s *Server) waitListeners() {
	s.t.Helper()
	Wait(s.t, "the listeners of the former config to close", func() bool {
		return !slices.ContainsFunc(slices.Collect(maps.Values(s.ports)), func(port int) bool { return listeners(port) > 1 })
	})
}

// listeners counts the TCP sockets that listen on an IPv4 port, see proc_net_tcp(5). Without /proc, it returns 0.
func listeners(port int) int {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return 0
	}
	const listening = "0A"
	local := fmt.Sprintf(":%04X", port)
	count := 0
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[1], local) && f[3] == listening {
			count++
		}
	}
	return count
}
