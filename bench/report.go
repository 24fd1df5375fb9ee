package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// perMillion returns the server's CPU seconds per million events, or NaN without events.
func (m measurement) perMillion() float64 {
	if m.Swarm.Events == 0 {
		return math.NaN()
	}
	return m.ServerCPU / float64(m.Swarm.Events) * 1e6
}

// faults returns the faults in the streams, or "".
func (m measurement) faults() string {
	var all []string
	add := func(n uint64, what string) {
		if n > 0 {
			all = append(all, thousands(float64(n))+" "+what)
		}
	}
	add(m.Swarm.Bad, "bad")
	add(m.Swarm.Controls, "told")
	add(uint64(m.Swarm.Closed), "cut off")
	return strings.Join(all, ", ")
}

func (m measurement) clean() bool {
	return m.Failed == "" && m.Swarm.Lost == 0 && m.Swarm.Doubled == 0 && m.faults() == ""
}

func (m measurement) summary() string {
	if m.Failed != "" {
		return "failed: " + m.Failed
	}
	s := fmt.Sprintf("%.2f CPU s per million, %.0f events/s, p99 %.2f ms, %.1f KiB per client, swarm %.2f cores, others %.2f",
		m.perMillion(), m.Swarm.EventsPerS, m.Swarm.P99, m.Memory/1024, m.Swarm.CPU/m.Swarm.Seconds, m.OtherCPU/m.Swarm.Seconds)
	if !m.clean() {
		s += fmt.Sprintf(", lost %d, doubled %d, %s", m.Swarm.Lost, m.Swarm.Doubled, m.faults())
	}
	return s
}

// row is a row of the table: all runs of one pair.
type row struct {
	runs []measurement
}

// rows groups the measurements by pair, in the order of the scenarios and their servers.
func rows(all []measurement) []row {
	var grouped []row
	for _, sc := range scenarios {
		for _, name := range sc.servers {
			if r := find(all, sc.name, name); len(r.runs) > 0 {
				grouped = append(grouped, r)
			}
		}
	}
	return grouped
}

func find(all []measurement, scenario, server string) row {
	var r row
	for _, m := range all {
		if m.Scenario == scenario && m.Server == server {
			r.runs = append(r.runs, m)
		}
	}
	return r
}

// median returns the median of f over the runs with figures, or NaN if there are none.
func (r row) median(f func(measurement) float64) float64 {
	var values []float64
	for _, m := range r.runs {
		if v := f(m); m.Failed == "" && !math.IsNaN(v) {
			values = append(values, v)
		}
	}
	return median(values)
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return values[middle]
	}
	return (values[middle-1] + values[middle]) / 2
}

func (r row) offered() float64 {
	i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == r.runs[0].Scenario })
	return scenarios[i].offered()
}

func cpuPerMillion(m measurement) float64 { return m.perMillion() }
func eventsPerSecond(m measurement) float64 {
	return m.Swarm.EventsPerS
}
func p99(m measurement) float64          { return zeroIsNone(m.Swarm.P99) }
func kibPerClient(m measurement) float64 { return m.Memory / 1024 }
func bytesPerEvent(m measurement) float64 {
	return m.Swarm.MBPerS * 1e6 / m.Swarm.EventsPerS
}

func zeroIsNone(v float64) float64 {
	if v == 0 {
		return math.NaN()
	}
	return v
}

// report prints the table and the bars.
func report(w io.Writer, all []measurement) {
	fmt.Fprintf(w, "%s\n\n", machine())
	fmt.Fprintln(w, "| scenario | server | server CPU s per million events | events/s | of offered | MB/s | p50 ms | p99 ms | KiB per client | lost / doubled | server cores | emitter cores | swarm cores |")
	fmt.Fprintln(w, "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	for _, r := range rows(all) {
		first := r.runs[0]
		fmt.Fprintf(w, "| %s | %s | ", first.Scenario, first.Server)
		if failed := slices.IndexFunc(r.runs, func(m measurement) bool { return m.Failed != "" }); failed >= 0 {
			reason, _, _ := strings.Cut(r.runs[failed].Failed, "\n")
			if math.IsNaN(r.median(eventsPerSecond)) {
				fmt.Fprintf(w, "failed: %s | | | | | | | | | | |\n", strings.ReplaceAll(reason, "|", "/"))
				continue
			}
		}
		offered := "–"
		if r.offered() > 0 {
			offered = number(100*r.median(eventsPerSecond)/r.offered(), 1) + " %"
		}
		cells := []string{
			number(r.median(cpuPerMillion), 2),
			thousands(r.median(eventsPerSecond)),
			offered,
			number(r.median(func(m measurement) float64 { return m.Swarm.MBPerS }), 1),
			number(r.median(func(m measurement) float64 { return zeroIsNone(m.Swarm.P50) }), 2),
			number(r.median(p99), 2),
			number(r.median(kibPerClient), 1),
			r.faults(),
			number(r.median(func(m measurement) float64 { return m.ServerCPU / m.Swarm.Seconds }), 2),
			number(r.median(func(m measurement) float64 { return m.EmitterCPU / m.Swarm.Seconds }), 2),
			number(r.median(func(m measurement) float64 { return m.Swarm.CPU / m.Swarm.Seconds }), 2),
		}
		fmt.Fprintln(w, strings.Join(cells, " | ")+" |")
	}
	others := row{runs: all}.median(func(m measurement) float64 { return m.OtherCPU / m.Swarm.Seconds })
	fmt.Fprintf(w, "\nOther processes of the machine, and its host, took %s cores meanwhile (median).\n\n", number(others, 2))
	bars(w, all)
}

// faults returns the faults in all runs.
func (r row) faults() string {
	var sum measurement
	failed := 0
	for _, m := range r.runs {
		sum.Swarm.Lost += m.Swarm.Lost
		sum.Swarm.Doubled += m.Swarm.Doubled
		sum.Swarm.Bad += m.Swarm.Bad
		sum.Swarm.Controls += m.Swarm.Controls
		sum.Swarm.Closed += m.Swarm.Closed
		if m.Failed != "" {
			failed++
		}
	}
	s := thousands(float64(sum.Swarm.Lost)) + " / " + thousands(float64(sum.Swarm.Doubled))
	if other := sum.faults(); other != "" {
		s += ", " + other
	}
	if failed > 0 {
		s += fmt.Sprintf(", %d runs failed", failed)
	}
	return s
}

func number(v float64, decimals int) string {
	if math.IsNaN(v) {
		return "–"
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

func thousands(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	s := strconv.FormatFloat(math.Round(v), 'f', 0, 64)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// machine returns a line that describes the machine.
func machine() string {
	model := "unknown CPU"
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	var kernel unix.Utsname
	_ = unix.Uname(&kernel)
	return fmt.Sprintf("%s: %d cores of %s, Linux %s, %s; emitter, server and swarm share them.",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), model, unix.ByteSliceToString(kernel.Release[:]), runtime.Version())
}
