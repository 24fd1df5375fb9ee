package metrics

import "github.com/prometheus/client_golang/prometheus"

// onDemand holds the metrics that are worked out when somebody asks for them.
var onDemand []prometheus.Collector

// CountOnDemand adds a counter whose values, by the name of the handler, are worked out when somebody asks for them. It
// is called while the program starts.
func CountOnDemand(name, help string, byName func() map[string]float64) {
	addOnDemand(prometheus.CounterValue, name, help, byName)
}

// MeasureOnDemand adds a gauge in the same way.
func MeasureOnDemand(name, help string, byName func() map[string]float64) {
	addOnDemand(prometheus.GaugeValue, name, help, byName)
}

func addOnDemand(kind prometheus.ValueType, name, help string, byName func() map[string]float64) {
	desc := prometheus.NewDesc(prometheus.BuildFQName("caddy", "sse", name), help, []string{"name"}, nil)
	onDemand = append(onDemand, &collector{desc, kind, byName})
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
