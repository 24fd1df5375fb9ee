package sse

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/ratelog"
	"go.uber.org/zap"
)

// reporter counts what happens to the upstreams and streams of one sse, and logs what goes wrong with them.
type reporter struct {
	name, backend string // of the sse, and of its backend, as metrics and logs call them
	logger        *zap.Logger
	meters        *metrics.Meters

	record                    []zap.Field // what the config says of large records
	failures, sizes, refusals *ratelog.Limiter
}

// newReporter returns the reporter of an sse with this name and backend, whose records may have maxRecordSize bytes.
func newReporter(name, backend string, logger *zap.Logger, meters *metrics.Meters, maxRecordSize int64, oversize string) *reporter {
	return &reporter{
		name: name, backend: backend, logger: logger, meters: meters,
		record:   []zap.Field{zap.Int64("max_record_size", maxRecordSize), zap.String("policy", oversize)},
		failures: ratelog.Warnings(), sizes: ratelog.Warnings(), refusals: ratelog.Warnings(),
	}
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
		log.Warn(why, r.record...)
	}
}

// refused counts a stream that a client asked for and does not get, and logs why: at warn, as Caddy does, if it is not the
// client's fault. It returns the handler's error.
func (r *reporter) refused(uri, reason string, status int, err error) error {
	r.meters.StreamsRefused[reason].Inc()
	about := []zap.Field{zap.String("reason", reason), zap.Int("status", status), zap.String("uri", uri), zap.Error(err)}
	if status < http.StatusInternalServerError {
		r.logger.Debug("stream refused", about...)
	} else if log := r.warnings(r.refusals); log != nil {
		log.Warn("stream refused", about...)
	}
	return caddyhttp.Error(status, err)
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
