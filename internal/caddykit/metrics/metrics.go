// Package metrics has the metrics of the sse handler.
package metrics

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyserver/caddy/v2"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
)

// The collectors live as long as the process, so that the counts continue after a reload, which makes a new registry. No label has
// a value from a client or an upstream. So only this file and the configs determine the number of series.
//
// Each of these has the label `name`: the value of the option name, or empty. Prometheus treats an empty label as a missing one.
var (
	StreamsActive   = gauge("streams_active", "Number of event streams that are open.")
	StreamsEnded    = counter("streams_ended_total", "Number of event streams that have ended, by reason.", "reason")
	StreamsRefused  = counter("streams_refused_total", "Number of event streams that clients asked for and did not get, by reason.", "reason")
	StreamDuration  = histogram("stream_duration_seconds", "How long event streams lasted.", .1, 1, 5, 15, 60, 300, 900, 3600, 4*3600, 24*3600)
	RecordsFiltered = counter("records_filtered_total", "Number of records that the where expression held back.")
	RecordsDropped  = counter("records_dropped_total", "Number of records dropped or cut, by reason.", "reason")
	FieldsDropped   = counter("fields_dropped_total", "Number of id and event fields not sent because of what they held, by field.", "field")
	SourcesActive   = gauge("sources_active", "Number of sources that streams share.")
	Connects        = counter("upstream_connects_total", "Number of times an upstream was opened, by backend.", "backend")
	Failures        = counter("upstream_failures_total", "Number of times an upstream failed, by backend.", "backend")
	ClientsLagged   = counter("clients_lagged_total", "Number of times a client fell behind the history.")
)

// The reasons for a refused stream: the values of the metric's label.
const (
	RefusedAccept              = "accept"
	RefusedMaxStreams          = "max_streams"
	RefusedMaxStreamsPerClient = "max_streams_per_client"
	RefusedMaxSources          = "max_sources"
	RefusedExpired             = "expired"
	RefusedUnauthorized        = "unauthorized"
)

// Refusals are all reasons for a refused stream.
var Refusals = []string{RefusedAccept, RefusedMaxStreams, RefusedMaxStreamsPerClient, RefusedMaxSources, RefusedExpired, RefusedUnauthorized}

// Meters are the series of one handler. They are looked up once, when the config loads.
type Meters struct {
	StreamsActive, SourcesActive prometheus.Gauge
	StreamsEnded, StreamsRefused map[string]prometheus.Counter // by reason
	StreamDuration               prometheus.Observer
	RecordsFiltered              prometheus.Counter
	RecordsDropped               struct{ TooLarge, Truncated, Invalid, WhereFailed prometheus.Counter }
	FieldsDropped                struct{ ID, Event prometheus.Counter }
	Connects, Failures           prometheus.Counter
	ClientsLagged                prometheus.Counter
}

// New returns the meters of a handler with this name and backend. endReasons are all reasons for the end of a stream. New creates all
// series with the value 0, so that Prometheus sees their first increase.
func New(name, backend string, endReasons []string) *Meters {
	m := &Meters{
		StreamsActive:   StreamsActive.WithLabelValues(name),
		SourcesActive:   SourcesActive.WithLabelValues(name),
		StreamsEnded:    make(map[string]prometheus.Counter),
		StreamsRefused:  make(map[string]prometheus.Counter),
		StreamDuration:  StreamDuration.WithLabelValues(name),
		RecordsFiltered: RecordsFiltered.WithLabelValues(name),
		Connects:        Connects.WithLabelValues(name, backend),
		Failures:        Failures.WithLabelValues(name, backend),
		ClientsLagged:   ClientsLagged.WithLabelValues(name),
	}
	for _, reason := range endReasons {
		m.StreamsEnded[reason] = StreamsEnded.WithLabelValues(name, reason)
	}
	for _, reason := range Refusals {
		m.StreamsRefused[reason] = StreamsRefused.WithLabelValues(name, reason)
	}
	m.RecordsDropped.TooLarge = RecordsDropped.WithLabelValues(name, "record_too_large")
	m.RecordsDropped.Truncated = RecordsDropped.WithLabelValues(name, "truncated")
	m.RecordsDropped.Invalid = RecordsDropped.WithLabelValues(name, "invalid")
	m.RecordsDropped.WhereFailed = RecordsDropped.WithLabelValues(name, "where_failed")
	m.FieldsDropped.ID = FieldsDropped.WithLabelValues(name, "id")
	m.FieldsDropped.Event = FieldsDropped.WithLabelValues(name, "event")
	return m
}

// CountMapped counts a record or fields that were not sent. It does nothing if m is nil.
func (m *Meters) CountMapped(r mapping.Result) {
	if m != nil && !r.Whole() {
		m.countHeldBack(r)
	}
}

func (m *Meters) countHeldBack(r mapping.Result) {
	switch r.Outcome {
	case mapping.Filtered:
		m.RecordsFiltered.Inc()
	case mapping.WhereFailed:
		m.RecordsDropped.WhereFailed.Inc()
	case mapping.Invalid, mapping.Refused:
		m.RecordsDropped.Invalid.Inc()
	}
	if r.IDDropped {
		m.FieldsDropped.ID.Inc()
	}
	if r.EventDropped {
		m.FieldsDropped.Event.Inc()
	}
}

// Collectors returns all collectors.
func Collectors() []prometheus.Collector {
	return append([]prometheus.Collector{
		StreamsActive, StreamsEnded, StreamsRefused, StreamDuration, RecordsFiltered, RecordsDropped, FieldsDropped,
		SourcesActive, Connects, Failures, ClientsLagged,
	}, onDemand...)
}

// Register registers the collectors in the config's registry. Each sse handler in a config calls it.
func Register(ctx caddy.Context) error { return register(ctx, Collectors()) }

func register(ctx caddy.Context, collectors []prometheus.Collector) error {
	registry := ctx.GetMetricsRegistry()
	if registry == nil {
		return nil
	}
	for _, c := range collectors {
		var already prometheus.AlreadyRegisteredError
		if err := registry.Register(c); err != nil && !errors.As(err, &already) {
			return err
		}
	}
	return nil
}

// CheckName returns an error for a name that is not fit for a label. A placeholder, for example, would make a series for each
// request.
func CheckName(name string) error {
	if name == "" || strings.ContainsFunc(name, unicode.IsControl) || strings.ContainsAny(name, "{}") {
		return fmt.Errorf("must be plain text without placeholders, not %q", name)
	}
	return nil
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
