// Command bench measures the product and its peers on this machine. It prints a Markdown table, and the bars that the product must
// meet. README.md describes the measurements.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	pattern := flag.String("run", "", "measure only what matches this regular expression, as `scenario/server`")
	runs := flag.Int("runs", 5, "runs of each scenario; the table shows medians")
	duration := flag.Duration("duration", 8*time.Second, "measured window of a run")
	caddy := flag.String("caddy", "", "Caddy `binary` with the product; default: built from ../cmd/caddy")
	out := flag.String("out", "", "append each measurement to this `file`, one JSON object per line")
	from := flag.String("from", "", "measure nothing, print the table of this `file` that -out wrote")
	plot := flag.String("plot", "", "write the growth of bar 7 as SVG to this `file`")
	list := flag.Bool("list", false, "print what would be measured")
	flag.Parse()
	wanted, err := regexp.Compile(*pattern)
	if err != nil {
		return err
	}

	var measured []measurement
	switch {
	case *list:
		for _, p := range plan(wanted) {
			fmt.Println(p.scenario.name + "/" + p.server.name)
		}
		return nil
	case *from != "":
		if measured, err = load(*from); err != nil {
			return err
		}
	default:
		b := bench{runs: *runs, duration: *duration, progress: os.Stderr}
		if *out != "" {
			if b.out, err = os.OpenFile(*out, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err != nil {
				return err
			}
			defer b.out.Close()
		}
		measured, err = b.measure(ctx, plan(wanted), *caddy)
		if err != nil && len(measured) == 0 {
			return err
		}
	}
	report(os.Stdout, measured)
	if *plot != "" {
		err = errors.Join(err, writePlot(*plot, measured))
	}
	return err
}

// pair is a scenario with a server.
type pair struct {
	scenario scenario
	server   server
}

func plan(wanted *regexp.Regexp) []pair {
	var pairs []pair
	for _, sc := range scenarios {
		for _, name := range sc.servers {
			if wanted.MatchString(sc.name + "/" + name) {
				pairs = append(pairs, pair{sc, servers[slices.IndexFunc(servers, func(s server) bool { return s.name == name })]})
			}
		}
	}
	return pairs
}

// measurement is one run of one pair.
type measurement struct {
	Scenario string `json:"scenario"`
	Server   string `json:"server"`
	Run      int    `json:"run"`
	// ServerCPU is the server's CPU time in the window, in seconds, of all its processes.
	ServerCPU float64 `json:"server_cpu_s"`
	// EmitterCPU is the emitter's CPU time in the window, in seconds.
	EmitterCPU float64 `json:"emitter_cpu_s"`
	// OtherCPU is the CPU time of everything else on the machine, and the time that its host withheld. A high value means noise.
	OtherCPU float64 `json:"other_cpu_s"`
	// Memory is how much the server's resident memory grew with each client, in bytes.
	Memory float64 `json:"memory_per_client"`
	Swarm  swarmed `json:"swarm"`
	// Failed is the reason why there are no figures: the server failed.
	Failed string `json:"failed,omitempty"`
}

// swarmed is the output of the swarm.
type swarmed struct {
	Phase      string  `json:"phase"`
	Clients    int     `json:"clients"`
	Seconds    float64 `json:"seconds"`
	Events     uint64  `json:"events"`
	Lost       uint64  `json:"lost"`
	Doubled    uint64  `json:"doubled"`
	Bad        uint64  `json:"bad"`
	Controls   uint64  `json:"controls"`
	Closed     int     `json:"closed"`
	CloseErr   string  `json:"close_error,omitempty"`
	Behind     int64   `json:"behind"`
	EventsPerS float64 `json:"events_per_s"`
	MBPerS     float64 `json:"mb_per_s"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	Max        float64 `json:"max_ms"`
	CPU        float64 `json:"cpu_s"`
}

type bench struct {
	runs     int
	duration time.Duration
	out      io.WriteCloser
	progress io.Writer
}

// measure runs all pairs, one scenario after the other. The order of the servers changes with each run, so that no server always
// follows the same other one.
func (b *bench) measure(ctx context.Context, pairs []pair, caddy string) ([]measurement, error) {
	raiseOpenFiles()
	k, err := newKit(ctx, caddy)
	if err != nil {
		return nil, err
	}
	defer k.remove()
	missing := make(map[string]error)
	pairs = slices.DeleteFunc(pairs, func(p pair) bool {
		err, asked := missing[p.server.name]
		if !asked {
			fmt.Fprintf(b.progress, "preparing %s\n", p.server.name)
			err = p.server.prepare(ctx, k)
			missing[p.server.name] = err
			if err != nil {
				fmt.Fprintf(b.progress, "skipped %s: %v\n", p.server.name, err)
			}
		}
		return err != nil
	})

	var measured []measurement
	for len(pairs) > 0 {
		n := 1
		for n < len(pairs) && pairs[n].scenario.name == pairs[0].scenario.name {
			n++
		}
		group := pairs[:n]
		pairs = pairs[n:]
		for run := range b.runs {
			order := slices.Clone(group)
			if run%2 == 1 {
				slices.Reverse(order)
			}
			for _, p := range order {
				m, err := b.once(ctx, k, p)
				if ctx.Err() != nil {
					return measured, ctx.Err()
				}
				m.Scenario, m.Server, m.Run = p.scenario.name, p.server.name, run
				if err != nil {
					m.Failed = err.Error()
				}
				fmt.Fprintf(b.progress, "%s/%s run %d: %s\n", m.Scenario, m.Server, run+1, m.summary())
				measured = append(measured, m)
				if b.out != nil {
					if err := json.NewEncoder(b.out).Encode(m); err != nil {
						return measured, err
					}
				}
			}
		}
	}
	return measured, nil
}

func load(path string) ([]measurement, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []measurement
	for d := json.NewDecoder(f); ; {
		var m measurement
		switch err := d.Decode(&m); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		all = append(all, m)
	}
}
