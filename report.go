package sse

import (
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/ratelog"
	"go.uber.org/zap"
)

// reporter counts what happens to the upstreams of one sse, and logs what goes wrong with them.
type reporter struct {
	name, backend string // of the sse, and of its backend, as metrics and logs call them
	logger        *zap.Logger
	meters        *metrics.Meters

	maxRecordSize int64
	oversize      string

	failures, sizes, refusals *ratelog.Limiter
}

// connecting counts an attempt to open an upstream.
func (r *reporter) connecting() { r.meters.Connects.Inc() }

// failed counts an upstream's failure and logs it, with what else there is to say about it.
func (r *reporter) failed(err error, about ...zap.Field) {
	r.meters.Failures.Inc()
	if log := r.warnings(r.failures); log != nil {
		log.Warn("upstream failed", append(about, zap.Error(failure.Plain(err)))...)
	}
}

// failedAgain counts the failure of an upstream that is to be opened anew. It logs the first of several in a row, within
// the limit, and reports whether it has.
func (r *reporter) failedAgain(err error, first bool, limit *ratelog.Limiter) (logged bool) {
	r.meters.Failures.Inc()
	if !first {
		return false
	}
	log := r.warnings(limit)
	if log == nil {
		return false
	}
	log.Warn("upstream failed, connecting anew", zap.Error(failure.Plain(err)))
	return true
}

// tooLarge logs that a record is larger than the config allows, or than there is room for.
func (r *reporter) tooLarge(why string) {
	if log := r.warnings(r.sizes); log != nil {
		log.Warn(why, zap.Int64("max_record_size", r.maxRecordSize), zap.String("policy", r.oversize))
	}
}

// warnings returns the log for a warning of a kind, which says how many were left out since the last one. It is nil if
// there have been too many.
func (r *reporter) warnings(limit *ratelog.Limiter) *zap.Logger {
	ok, dropped := limit.Allow()
	if !ok {
		return nil
	}
	log := r.logger.With(zap.String("backend", r.backend))
	if dropped > 0 {
		log = log.With(zap.Int("not_logged", dropped))
	}
	return log
}
