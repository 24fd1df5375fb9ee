package metrics

import (
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// The collectors of stores. A store is shared by handlers, so these have no label `name`.
var (
	storeAppendSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "caddy", Subsystem: "sse", Name: "store_append_seconds",
		Help:    "How long a store took to accept or refuse a message.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
	})
	storeAppends    = unnamed("store_appends_total", "Number of messages given to a store, by result.", "result")
	sourcesLeading  = prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "caddy", Subsystem: "sse", Name: "sources_leading", Help: "Number of sources with a store whose upstream this process has."})
	sourceTakeovers = unnamed("source_takeovers_total", "Number of times this process has taken over the upstream of a source with a store, by reason.", "reason")
	recordsFenced   = prometheus.NewCounter(prometheus.CounterOpts{Namespace: "caddy", Subsystem: "sse", Name: "records_fenced_total", Help: "Number of records that were not stored, and that no client has seen, since another process had taken over the upstream."})
)

func unnamed(name, help string, label string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "caddy", Subsystem: "sse", Name: name, Help: help}, []string{label})
}

// The results of giving a message to a store, as the metric's label has them.
const (
	AppendAccepted = "accepted"
	AppendConflict = "conflict"
	AppendTooLarge = "too_large"
	AppendRefused  = "refused"
	AppendUnknown  = "unknown" // no answer, or one that says nothing
)

// storeUp is worked out when somebody asks for it.
var storeUp prometheus.Collector

// PrepareStores makes the series of stores, so that Prometheus sees their first increase. byStore returns, by the name of
// their module, whether they can be used. It is called while the program starts.
func PrepareStores(takeoverReasons []string, byStore func() map[string]float64) {
	storeUp = newCollector(prometheus.GaugeValue, "store_up", "Whether the stores of each kind can be used: 0 if one cannot.", "store", byStore)
	for _, result := range []string{AppendAccepted, AppendConflict, AppendTooLarge, AppendRefused, AppendUnknown} {
		storeAppends.WithLabelValues(result)
	}
	for _, reason := range takeoverReasons {
		sourceTakeovers.WithLabelValues(reason)
	}
}

// StoreCollectors returns the collectors of stores.
func StoreCollectors() []prometheus.Collector {
	return []prometheus.Collector{storeUp, storeAppendSeconds, storeAppends, sourcesLeading, sourceTakeovers, recordsFenced}
}

// RegisterStores makes the collectors of stores known to the config's registry. Every sse handler with a store calls it.
func RegisterStores(ctx caddy.Context) error { return register(ctx, StoreCollectors()) }

// CountAppend counts a message that was given to a store.
func CountAppend(took time.Duration, result string) {
	storeAppendSeconds.Observe(took.Seconds())
	storeAppends.WithLabelValues(result).Inc()
}

// CountTakeover counts a source's upstream that this process has taken over.
func CountTakeover(reason string) { sourceTakeovers.WithLabelValues(reason).Inc() }

// CountLeading counts n more sources whose upstream this process has.
func CountLeading(n int) { sourcesLeading.Add(float64(n)) }

// CountFenced counts records that were not stored.
func CountFenced(records uint64) { recordsFenced.Add(float64(records)) }
