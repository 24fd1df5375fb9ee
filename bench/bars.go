package main

import (
	"fmt"
	"io"
	"math"
)

// saturated is the share of offered events below which a server does not keep up.
const saturated = 0.98

// noise is how much the cost per delivery may rise, from the first point of the growth to any later one, without counting as a rise.
const noise = 1.05

// bars prints each bar of the product with its figure. A bar without a measurement is left out.
func bars(w io.Writer, all []measurement) {
	b := book{w: w, all: all}
	fmt.Fprintln(w, "| bar | figure | limit | met |")
	fmt.Fprintln(w, "| --- | ---: | ---: | --- |")

	pass := find(all, fullSpeed, passSSE)
	for _, bar := range []struct {
		server string
		limit  float64
	}{{ours, 1.15}, {oursMapped, 2.5}, {oursBackend, 0.8}} {
		b.atMost("2. full speed, "+bar.server+": CPU per record, of Caddy passing SSE", ratio(find(all, fullSpeed, bar.server), pass, cpuPerMillion), bar.limit)
	}
	b.atLeast("2. full speed: records/s, of Caddy passing SSE", ratio(find(all, fullSpeed, ours), pass, eventsPerSecond), 0.95)

	pass, our := find(all, streams, passSSE), find(all, streams, ours)
	b.atMost("3. 200 streams: CPU, of Caddy passing SSE", ratio(our, pass, cpuPerMillion), 1.1)
	b.atMost("3. 200 streams: p99, of Caddy passing SSE", ratio(our, pass, p99), 1.2)

	b.belowEveryPeer("4. "+shared1k+": CPU per delivery", shared1k, cpuPerMillion)
	b.atMost("4. "+shared1k+": p99, of nchan", ratio(find(all, shared1k, oursShared), find(all, shared1k, nchan), p99), 1)
	for _, name := range []string{shared5k, shared5kx} {
		if our := find(all, name, oursShared); len(our.runs) > 0 {
			b.atLeast("5. "+name+": events of those offered", our.median(eventsPerSecond)/our.offered(), saturated)
		}
		b.belowEveryPeer("5. "+name+": CPU per delivery", name, cpuPerMillion)
		b.belowEveryPeer("5. "+name+": p99", name, p99)
	}
	b.atMost("6. KiB per idle shared client at 5,000", find(all, idle, oursShared).median(kibPerClient), 24)

	for _, name := range []string{coded20, coded50, coded5k} {
		plain := find(all, name, oursShared)
		for _, way := range []struct{ compress, encode string }{{oursZstd, encodeZstd}, {oursGzip, encodeGzip}} {
			our, encode := find(all, name, way.compress), find(all, name, way.encode)
			label := "8. " + name + ", " + way.compress + ": "
			b.atMost(label+"CPU per delivery, of uncompressed", ratio(our, plain, cpuPerMillion), 1.3)
			b.atMost(label+"KiB per client, more than uncompressed", our.median(kibPerClient)-plain.median(kibPerClient), 8)
			b.atMost(label+"bytes, of encode", ratio(our, encode, bytesPerEvent), 1.25)
			b.atMost(label+"CPU per delivery, of encode", ratio(our, encode, cpuPerMillion), 0.33)
			b.atMost(label+"KiB per client, of encode", ratio(our, encode, kibPerClient), 0.1)
		}
	}

	b.growth("7. growth of clients: dearest delivery, of the first", clientGrowth())
	b.growth("7. growth of rate: dearest delivery, of the first", rateGrowth())

	faulty := 0
	measured := 0
	for _, r := range rows(all) {
		switch r.runs[0].Server {
		case ours, oursMapped, oursBackend, oursShared, oursZstd, oursGzip:
			for _, m := range r.runs {
				measured++
				if !m.clean() {
					faulty++
				}
			}
		}
	}
	if measured > 0 {
		b.atMost(fmt.Sprintf("of our %d runs: with an event lost, doubled or bad, a client cut off, or failed", measured), float64(faulty), 0)
	}
}

// ratio is the median, over the runs, of one row's figure to another's in the
// same run.
func ratio(a, b row, f func(measurement) float64) float64 {
	var ratios []float64
	for _, x := range a.runs {
		for _, y := range b.runs {
			if v := f(x) / f(y); x.Run == y.Run && x.Failed == "" && y.Failed == "" && !math.IsNaN(v) {
				ratios = append(ratios, v)
			}
		}
	}
	return median(ratios)
}

type book struct {
	w   io.Writer
	all []measurement
}

func (b book) atMost(name string, figure, limit float64) {
	b.bar(name, figure, fmt.Sprintf("≤ %g", limit), figure <= limit)
}

func (b book) atLeast(name string, figure, limit float64) {
	b.bar(name, figure, fmt.Sprintf("≥ %g", limit), figure >= limit)
}

func (b book) bar(name string, figure float64, limit string, met bool) {
	if math.IsNaN(figure) {
		return
	}
	verdict := "**not met**"
	if met {
		verdict = "met"
	}
	fmt.Fprintf(b.w, "| %s | %s | %s | %s |\n", name, number(figure, 2), limit, verdict)
}

// belowEveryPeer compares with the best peer of the scenario, and names it.
func (b book) belowEveryPeer(name, scenario string, f func(measurement) float64) {
	our := find(b.all, scenario, oursShared)
	worst, peer := math.NaN(), ""
	for _, r := range rows(b.all) {
		if m := r.runs[0]; m.Scenario != scenario || m.Server == oursShared {
			continue
		}
		if v := ratio(our, r, f); !math.IsNaN(v) && !(v <= worst) {
			worst, peer = v, r.runs[0].Server
		}
	}
	b.bar(name+", of the best peer ("+peer+")", worst, "< 1", worst < 1)
}

// growth compares the most expensive delivery in a series to that at its first point.
func (b book) growth(name string, series []scenario) {
	first := find(b.all, series[0].name, oursShared)
	worst := math.NaN()
	for _, sc := range series[1:] {
		if v := ratio(find(b.all, sc.name, oursShared), first, cpuPerMillion); !math.IsNaN(v) && !(v <= worst) {
			worst = v
		}
	}
	b.atMost(name, worst, noise)
}
