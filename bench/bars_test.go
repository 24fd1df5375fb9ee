package main

import (
	"bytes"
	"strings"
	"testing"
)

// measured makes a measurement with the given CPU seconds for a million events.
func measured(scenario, server string, n int, cpu, p99 float64) measurement {
	return measurement{Scenario: scenario, Server: server, Run: n, ServerCPU: cpu,
		Swarm: swarmed{Events: 1e6, EventsPerS: 250_000, Seconds: 4, P50: 1, P99: p99}}
}

func verdicts(all []measurement) string {
	var b bytes.Buffer
	bars(&b, all)
	return b.String()
}

func TestABarIsTheMedianOfRatiosWithinARun(t *testing.T) {
	// The machine is three times slower in run 1: the ratio stays.
	got := verdicts([]measurement{
		measured(streams, passSSE, 0, 10, 1), measured(streams, ours, 0, 10.5, 1),
		measured(streams, passSSE, 1, 30, 3), measured(streams, ours, 1, 31.5, 3.9),
		measured(streams, passSSE, 2, 10, 1), measured(streams, ours, 2, 90, 1.3),
	})
	for _, want := range []string{
		"CPU, of Caddy passing SSE | 1.05 | ≤ 1.1 | met |",
		"p99, of Caddy passing SSE | 1.30 | ≤ 1.2 | **not met** |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestABarAgainstEveryPeerNamesTheBestOne(t *testing.T) {
	all := []measurement{measured(shared5k, oursShared, 0, 5, 10), measured(shared5k, nchan, 0, 4, 20), measured(shared5k, mercureHub, 0, 20, 11)}
	got := verdicts(all)
	for _, want := range []string{
		"events of those offered | 1.00 | ≥ 0.98 | met |",
		"CPU per delivery, of the best peer (nchan) | 1.25 | < 1 | **not met** |",
		"p99, of the best peer (Mercure) | 0.91 | < 1 | met |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestGrowthIsJudgedByItsDearestPoint(t *testing.T) {
	got := verdicts([]measurement{
		measured(growthName(1000, 10), oursShared, 0, 10, 1),
		measured(growthName(5000, 10), oursShared, 0, 12, 1),
		measured(growthName(10_000, 10), oursShared, 0, 4, 1),
		measured(growthName(1000, 1000), oursShared, 0, 3, 1),
	})
	for _, want := range []string{"growth of clients: dearest delivery, of the first | 1.20 | ≤ 1.05 | **not met** |", "growth of rate: dearest delivery, of the first | 0.30 | ≤ 1.05 | met |"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestALostEventOfOursIsABarNotMet(t *testing.T) {
	bad := measured(streams, ours, 0, 1, 1)
	bad.Swarm.Lost = 1
	if got := verdicts([]measurement{bad}); !strings.Contains(got, "of our 1 runs: with an event lost, doubled or bad, a client cut off, or failed | 1.00 | ≤ 0 | **not met** |") {
		t.Error(got)
	}
	bad.Server = nginx
	if got := verdicts([]measurement{bad}); strings.Contains(got, "of our") {
		t.Error(got)
	}
}

func TestEveryServerOfAScenarioExistsOnce(t *testing.T) {
	count := make(map[string]int)
	for _, s := range servers {
		count[s.name]++
	}
	seen := make(map[string]bool)
	for _, sc := range scenarios {
		if seen[sc.name] {
			t.Errorf("two scenarios are %q", sc.name)
		}
		seen[sc.name] = true
		for _, name := range sc.servers {
			if count[name] != 1 {
				t.Errorf("%s: server %q is defined %d times", sc.name, name, count[name])
			}
		}
	}
}

func TestReportShowsFailuresAndFaults(t *testing.T) {
	gone := measured(shared1k, nchan, 0, 1, 1)
	gone.Failed = "only 7 of 1000 clients\nand more"
	lossy := measured(shared1k, goSSE, 0, 1, 1)
	lossy.Swarm.Lost, lossy.Swarm.Closed = 1234, 2
	var b bytes.Buffer
	report(&b, []measurement{gone, lossy})
	for _, want := range []string{"failed: only 7 of 1000 clients |", "| 1,234 / 0, 2 cut off |"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	lines := strings.Split(b.String(), "\n")
	for _, l := range lines[2:6] {
		if n := strings.Count(l, "|"); n != 14 {
			t.Errorf("a row of %d bars, not 14: %s", n, l)
		}
	}
}
