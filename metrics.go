package sse

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"

	"github.com/caddyserver/caddy/v2"
)

// The collectors are made once: a config's registry is new with each reload, and the counts go on. No label takes a
// value from a client or an upstream, so the number of series is bounded by this file and the configs.
//
// Each has the label `name`, the option of that name. It is empty where the config has none, which Prometheus stores
// as no label.
var (
	streamsActive   = gauge("streams_active", "Number of event streams that are open.")
	streamsEnded    = counter("streams_ended_total", "Number of event streams that have ended, by reason.", "reason")
	streamsRefused  = counter("streams_refused_total", "Number of event streams that clients asked for and did not get, by reason.", "reason")
	streamDuration  = histogram("stream_duration_seconds", "How long event streams lasted.", .1, 1, 5, 15, 60, 300, 900, 3600, 4*3600, 24*3600)
	eventsTotal     = addedUp("events_total", "Number of events sent to clients.", func() map[string]float64 { return openStreams.sent(func(s sent) int64 { return s.events }) })
	bytesTotal      = addedUp("bytes_total", "Number of bytes of event streams sent to clients, before compression.", func() map[string]float64 { return openStreams.sent(func(s sent) int64 { return s.bytes }) })
	recordsFiltered = counter("records_filtered_total", "Number of records that the where expression held back.")
	recordsDropped  = counter("records_dropped_total", "Number of records dropped or cut, by reason.", "reason")
	fieldsDropped   = counter("fields_dropped_total", "Number of id and event fields not sent because of what they held, by field.", "field")
	sourcesActive   = gauge("sources_active", "Number of sources that streams share.")
	sourceUp        = measured("source_up", "Whether the upstream of each source that streams share is there: 0 if one is not.", func() map[string]float64 { return sources.up() })
	connects        = counter("upstream_connects_total", "Number of times an upstream was opened, by backend.", "backend")
	failures        = counter("upstream_failures_total", "Number of times an upstream failed, by backend.", "backend")
	clientsLagged   = counter("clients_lagged_total", "Number of times a client fell behind the history.")
)

// Why a stream was refused: the values of the metric's label.
const (
	refusedAccept              = "accept"
	refusedMaxStreams          = "max_streams"
	refusedMaxStreamsPerClient = "max_streams_per_client"
	refusedMaxSources          = "max_sources"
)

var refusals = []string{refusedAccept, refusedMaxStreams, refusedMaxStreamsPerClient, refusedMaxSources}

// meters are what one sse counts. They are looked up once, when the config loads.
type meters struct {
	streamsActive, sourcesActive prometheus.Gauge
	streamsEnded, streamsRefused map[string]prometheus.Counter // by reason
	streamDuration               prometheus.Observer
	recordsFiltered              prometheus.Counter
	recordsDropped               struct{ tooLarge, truncated, invalid, whereFailed prometheus.Counter }
	fieldsDropped                struct{ id, event prometheus.Counter }
	connects, failures           prometheus.Counter
	clientsLagged                prometheus.Counter
}

// newMeters also makes each series, so that one that is there from the start shows its first increase, too.
func newMeters(name, backend string) *meters {
	m := &meters{
		streamsActive:   streamsActive.WithLabelValues(name),
		sourcesActive:   sourcesActive.WithLabelValues(name),
		streamsEnded:    make(map[string]prometheus.Counter),
		streamsRefused:  make(map[string]prometheus.Counter),
		streamDuration:  streamDuration.WithLabelValues(name),
		recordsFiltered: recordsFiltered.WithLabelValues(name),
		connects:        connects.WithLabelValues(name, backend),
		failures:        failures.WithLabelValues(name, backend),
		clientsLagged:   clientsLagged.WithLabelValues(name),
	}
	for _, reason := range endReasons {
		m.streamsEnded[reason] = streamsEnded.WithLabelValues(name, reason)
	}
	for _, reason := range refusals {
		m.streamsRefused[reason] = streamsRefused.WithLabelValues(name, reason)
	}
	m.recordsDropped.tooLarge = recordsDropped.WithLabelValues(name, "record_too_large")
	m.recordsDropped.truncated = recordsDropped.WithLabelValues(name, "truncated")
	m.recordsDropped.invalid = recordsDropped.WithLabelValues(name, "invalid")
	m.recordsDropped.whereFailed = recordsDropped.WithLabelValues(name, "where_failed")
	m.fieldsDropped.id = fieldsDropped.WithLabelValues(name, "id")
	m.fieldsDropped.event = fieldsDropped.WithLabelValues(name, "event")
	openStreams.count(name, sent{})
	return m
}

// countMapped counts a record that was not sent, and the fields that were not. It counts nothing if m is nil.
func (m *meters) countMapped(r mapping.Result) {
	if m != nil && !r.Whole() {
		m.countHeldBack(r)
	}
}

func (m *meters) countHeldBack(r mapping.Result) {
	switch r.Outcome {
	case mapping.Filtered:
		m.recordsFiltered.Inc()
	case mapping.WhereFailed:
		m.recordsDropped.whereFailed.Inc()
	case mapping.Invalid, mapping.Refused:
		m.recordsDropped.invalid.Inc()
	}
	if r.IDDropped {
		m.fieldsDropped.id.Inc()
	}
	if r.EventDropped {
		m.fieldsDropped.event.Inc()
	}
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "caddy", Subsystem: "sse", Name: name, Help: help}, append([]string{"name"}, labels...))
}

func gauge(name, help string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "caddy", Subsystem: "sse", Name: name, Help: help}, []string{"name"})
}

func histogram(name, help string, buckets ...float64) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "caddy", Subsystem: "sse", Name: name, Help: help, Buckets: buckets}, []string{"name"})
}

// onDemand is a metric that is worked out when somebody asks for it.
type onDemand struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	byName func() map[string]float64
}

func addedUp(name, help string, byName func() map[string]float64) *onDemand {
	return newOnDemand(prometheus.CounterValue, name, help, byName)
}

func measured(name, help string, byName func() map[string]float64) *onDemand {
	return newOnDemand(prometheus.GaugeValue, name, help, byName)
}

func newOnDemand(kind prometheus.ValueType, name, help string, byName func() map[string]float64) *onDemand {
	return &onDemand{prometheus.NewDesc(prometheus.BuildFQName("caddy", "sse", name), help, []string{"name"}, nil), kind, byName}
}

func (m *onDemand) Describe(descs chan<- *prometheus.Desc) { descs <- m.desc }

func (m *onDemand) Collect(metrics chan<- prometheus.Metric) {
	for name, value := range m.byName() {
		metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, value, name)
	}
}

// registerMetrics makes the collectors known to the config's registry. Every sse handler of the config does it.
func registerMetrics(ctx caddy.Context) error {
	registry := ctx.GetMetricsRegistry()
	if registry == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{
		streamsActive, streamsEnded, streamsRefused, streamDuration, eventsTotal, bytesTotal, recordsFiltered,
		recordsDropped, fieldsDropped, sourcesActive, sourceUp, connects, failures, clientsLagged,
	} {
		var already prometheus.AlreadyRegisteredError
		if err := registry.Register(c); err != nil && !errors.As(err, &already) {
			return err
		}
	}
	return nil
}

// checkName refuses what no label's value should be. A placeholder's value would make a series for each request.
func checkName(name string) error {
	if name == "" || strings.ContainsFunc(name, unicode.IsControl) || strings.ContainsAny(name, "{}") {
		return fmt.Errorf("must be plain text without placeholders, not %q", name)
	}
	return nil
}

var _ prometheus.Collector = (*onDemand)(nil)
