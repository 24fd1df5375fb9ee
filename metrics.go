package sse

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyserver/caddy/v2"
)

// The collectors are made once: a config's registry is new with each reload, the counts go on. No label takes a
// value from a client or an upstream, so that their number is bounded by this file and the config.
var (
	streamsActive   = gauge("streams_active", "Number of event streams that are open.")
	streamsEnded    = counterVec("streams_ended_total", "Number of event streams that have ended, by reason.", "reason")
	streamDuration  = prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "caddy", Subsystem: "sse", Name: "stream_duration_seconds", Help: "How long event streams lasted.", Buckets: []float64{.1, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600}})
	eventsTotal     = counterFunc("events_total", "Number of events sent to clients.", func() int64 { events, _ := openStreams.sent(); return events })
	bytesTotal      = counterFunc("bytes_total", "Number of bytes of event streams sent to clients, before compression.", func() int64 { _, bytes := openStreams.sent(); return bytes })
	recordsFiltered = counter("records_filtered_total", "Number of records that the where expression held back.")
	droppedVec      = counterVec("records_dropped_total", "Number of records dropped or cut, by reason.", "reason")
	fieldsVec       = counterVec("fields_dropped_total", "Number of id and event fields not sent because they held a line break or NUL, by field.", "field")
	sourcesActive   = gauge("sources_active", "Number of sources that streams share.")
	connects        = counterVec("upstream_connects_total", "Number of times an upstream was opened, by backend.", "backend")
	failures        = counterVec("upstream_failures_total", "Number of times an upstream failed, by backend.", "backend")
	clientsLagged   = counter("clients_lagged_total", "Number of times a client fell behind the history.")

	recordsDropped = struct{ tooLarge, truncated, invalid, whereFailed prometheus.Counter }{
		tooLarge:    droppedVec.WithLabelValues("record_too_large"),
		truncated:   droppedVec.WithLabelValues("truncated"),
		invalid:     droppedVec.WithLabelValues("invalid"),
		whereFailed: droppedVec.WithLabelValues("where_failed"),
	}
	fieldsDropped = struct{ id, event prometheus.Counter }{
		id:    fieldsVec.WithLabelValues("id"),
		event: fieldsVec.WithLabelValues("event"),
	}
)

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "caddy", Subsystem: "sse", Name: name, Help: help})
}

func counterFunc(name, help string, count func() int64) prometheus.CounterFunc {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "caddy", Subsystem: "sse", Name: name, Help: help}, func() float64 { return float64(count()) })
}

func counterVec(name, help, label string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "caddy", Subsystem: "sse", Name: name, Help: help}, []string{label})
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "caddy", Subsystem: "sse", Name: name, Help: help})
}

func init() {
	// A series that is there from the start shows its first increase, too.
	for _, reason := range endReasons {
		streamsEnded.WithLabelValues(reason)
	}
}

// registerMetrics makes the collectors known to the config's registry. Every sse handler of the config does it.
func registerMetrics(ctx caddy.Context) error {
	registry := ctx.GetMetricsRegistry()
	if registry == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{
		streamsActive, streamsEnded, streamDuration, eventsTotal, bytesTotal, recordsFiltered, droppedVec,
		fieldsVec, sourcesActive, connects, failures, clientsLagged,
	} {
		var already prometheus.AlreadyRegisteredError
		if err := registry.Register(c); err != nil && !errors.As(err, &already) {
			return err
		}
	}
	return nil
}
