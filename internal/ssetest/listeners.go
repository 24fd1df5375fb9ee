package ssetest

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// waitListeners waits until the listeners of the config before are closed.
//
// Caddy opens listeners of its own for each config, on the same ports (SO_REUSEPORT), and closes the former ones some
// time after it has loaded the new config. The kernel resets the connections that lie in the queue of the one that is
// closed, so whoever connects meanwhile may find the server gone.
func (s *Server) waitListeners() {
	s.t.Helper()
	Wait(s.t, "the listeners of the former config to close", func() bool {
		return !slices.ContainsFunc(slices.Collect(maps.Values(s.ports)), func(port int) bool { return listeners(port) > 1 })
	})
}

// listeners counts the TCP sockets that listen on a port of IPv4, as proc_net_tcp(5) says; none where there is no /proc.
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
