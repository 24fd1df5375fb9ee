package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
)

func clientGrowth() []scenario {
	return pick(func(s scenario) bool { return s.rate == growthRates[0] })
}

func rateGrowth() []scenario {
	return pick(func(s scenario) bool { return s.clients == growthClients[0] })
}

func pick(f func(scenario) bool) []scenario {
	return slices.DeleteFunc(growth(), func(s scenario) bool { return !f(s) })
}

const (
	panelWidth  = 420
	panelHeight = 320
	marginLeft  = 60
	marginTop   = 40
	marginRight = 20
	marginBase  = 80
)

var lineColours = []string{"#0b62a4", "#c8553d", "#3d8c40", "#7a5195", "#8a6d3b"}

// writePlot draws the cost of a delivery over the number of clients and over the rate, both on logarithmic axes.
func writePlot(path string, all []measurement) error {
	var names []string
	highest := 0.0
	for _, r := range rows(all) {
		m := r.runs[0]
		if !strings.HasPrefix(m.Scenario, "growth: ") {
			continue
		}
		if !slices.Contains(names, m.Server) {
			names = append(names, m.Server)
		}
		if v := r.median(cpuPerMillion); v > highest {
			highest = v
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("no growth was measured: nothing to draw in %s", path)
	}
	highest = math.Ceil(highest*1.05/5) * 5

	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", 2*panelWidth, panelHeight+24)
	b.WriteString("<title>Server CPU per delivery as clients and rate grow</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n")
	panel(&b, 0, fmt.Sprintf("clients, %g records/s each", growthRates[0]), clientGrowth(), func(s scenario) float64 { return float64(s.clients) }, names, highest, all)
	panel(&b, panelWidth, fmt.Sprintf("records/s, %s clients", thousands(float64(growthClients[0]))), rateGrowth(), func(s scenario) float64 { return s.rate }, names, highest, all)
	for i, name := range names {
		x := marginLeft + i*200
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="14" height="4" fill="%s"/><text x="%d" y="%d">%s</text>`+"\n", x, panelHeight, lineColours[i%len(lineColours)], x+20, panelHeight+6, name)
	}
	b.WriteString("</svg>\n")
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// panel draws one diagram.
func panel(b *strings.Builder, left int, title string, series []scenario, value func(scenario) float64, names []string, highest float64, all []measurement) {
	first, last := math.Log(value(series[0])), math.Log(value(series[len(series)-1]))
	width, height := float64(panelWidth-marginLeft-marginRight), float64(panelHeight-marginTop-marginBase)
	x := func(s scenario) float64 {
		return float64(left+marginLeft) + (math.Log(value(s))-first)/(last-first)*width
	}
	y := func(v float64) float64 { return marginTop + height*(1-v/highest) }

	fmt.Fprintf(b, `<text x="%d" y="20" font-weight="bold">µs of server CPU per delivery</text>`+"\n", left+marginLeft)
	for i := range 6 {
		v := highest * float64(i) / 5
		fmt.Fprintf(b, `<path d="M%d %.1fh%.0f" stroke="#dddddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			left+marginLeft, y(v), width, left+marginLeft-6, y(v)+4, number(v, 0))
	}
	for _, s := range series {
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n", x(s), y(0)+18, thousands(value(s)))
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n", float64(left+marginLeft)+width/2, y(0)+38, title)
	for i, name := range names {
		var points, dots strings.Builder
		for _, s := range series {
			if v := find(all, s.name, name).median(cpuPerMillion); !math.IsNaN(v) {
				fmt.Fprintf(&points, "%.1f,%.1f ", x(s), y(v))
				fmt.Fprintf(&dots, `<circle cx="%.1f" cy="%.1f" r="3"/>`, x(s), y(v))
			}
		}
		colour := lineColours[i%len(lineColours)]
		fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/><g fill="%s">%s</g>`+"\n", strings.TrimSpace(points.String()), colour, colour, dots.String())
	}
}
