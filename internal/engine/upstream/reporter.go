package upstream

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/ratelog"
	"go.uber.org/zap"
)

// Reporter counts the events of the upstreams and streams of one sse, and logs their failures.
type Reporter struct {
	Name, Backend string // of the sse, and of its backend, as metrics and logs call them
	Logger        *zap.Logger
	Meters        *metrics.Meters

	record                    []zap.Field // what the config says of large records
	failures, sizes, refusals *ratelog.Limiter
}

// NewReporter returns the reporter of an sse with this name and backend, whose records may have maxRecordSize bytes.
func NewReporter(name, backend string, logger *zap.Logger, meters *metrics.Meters, maxRecordSize int64, oversize string) *Reporter {
	return &Reporter{
		Name: name, Backend: backend, Logger: logger, Meters: meters,
		record:   []zap.Field{zap.Int64("max_record_size", maxRecordSize), zap.String("policy", oversize)},
		failures: ratelog.Warnings(), sizes: ratelog.Warnings(), refusals: ratelog.Warnings(),
	}
}

// Connecting counts an attempt to open an upstream.
func (r *Reporter) Connecting() { r.Meters.Connects.Inc() }

// Failed counts an upstream's failure and logs it, with these fields.
func (r *Reporter) Failed(err error, about ...zap.Field) {
	r.Meters.Failures.Inc()
	if log := r.warnings(r.failures); log != nil {
		log.Warn("upstream failed", append(about, zap.Error(failure.Plain(err)))...)
	}
}

// FailedAgain counts the failure of an upstream that is to be opened anew. It logs the first of several in a row, within
// the limit, and reports whether it has.
func (r *Reporter) FailedAgain(err error, first bool, limit *ratelog.Limiter) (logged bool) {
	r.Meters.Failures.Inc()
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

// TooLarge logs that a record is larger than the config allows, or than there is room for.
func (r *Reporter) TooLarge(why string) {
	if log := r.warnings(r.sizes); log != nil {
		log.Warn(why, r.record...)
	}
}

// Refused counts a stream that a client asked for and does not get, and logs why: at warn, as Caddy does, if it is not the
// client's fault. It returns the handler's error.
func (r *Reporter) Refused(uri, reason string, status int, err error) error {
	r.Meters.StreamsRefused[reason].Inc()
	about := []zap.Field{zap.String("reason", reason), zap.Int("status", status), zap.String("uri", uri), zap.Error(err)}
	if status < http.StatusInternalServerError {
		r.Logger.Debug("stream refused", about...)
	} else if log := r.warnings(r.refusals); log != nil {
		log.Warn("stream refused", about...)
	}
	return caddyhttp.Error(status, err)
}

// warnings returns the log for a warning of a kind, which says how many were left out since the last one. It is nil if
// there have been too many.
func (r *Reporter) warnings(limit *ratelog.Limiter) *zap.Logger {
	ok, dropped := limit.Allow()
	if !ok {
		return nil
	}
	log := r.Logger.With(zap.String("backend", r.Backend))
	if dropped > 0 {
		log = log.With(zap.Int("not_logged", dropped))
	}
	return log
}
