package metrics

import "github.com/prometheus/client_golang/prometheus"

// onDemand holds the metrics that are computed when they are collected.
var onDemand []prometheus.Collector

// CountOnDemand adds a counter. byName computes its values, by the name of the handler, when they are collected. Call it from an init
// function.
func CountOnDemand(name, help string, byName func() map[string]float64) {
	onDemand = append(onDemand, newCollector(prometheus.CounterValue, name, help, "name", byName))
}

// MeasureOnDemand is CountOnDemand for a gauge.
func MeasureOnDemand(name, help string, byName func() map[string]float64) {
	onDemand = append(onDemand, newCollector(prometheus.GaugeValue, name, help, "name", byName))
}

func newCollector(kind prometheus.ValueType, name, help, label string, byName func() map[string]float64) *collector {
	return &collector{prometheus.NewDesc(prometheus.BuildFQName("caddy", "sse", name), help, []string{label}, nil), kind, byName}
}

type collector struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	byName func() map[string]float64
}

func (c *collector) Describe(descs chan<- *prometheus.Desc) { descs <- c.desc }

func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	for name, value := range c.byName() {
		metrics <- prometheus.MustNewConstMetric(c.desc, c.kind, value, name)
	}
}

var _ prometheus.Collector = (*collector)(nil)
