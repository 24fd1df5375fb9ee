package upstream

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/ratelog"
	"go.uber.org/zap"
)

// Reporter keeps the metrics and logs the failures of the upstreams and streams of one sse handler.
type Reporter struct {
	Name, Backend string // the names of the handler and of its backend, in metrics and logs
	Logger        *zap.Logger
	Meters        *metrics.Meters

	record                    []zap.Field // the options for large records
	failures, sizes, refusals *ratelog.Limiter
}

// NewReporter returns a Reporter for a handler with this name and backend. maxRecordSize, in bytes, and oversize are logged with
// records that are too large.
func NewReporter(name, backend string, logger *zap.Logger, meters *metrics.Meters, maxRecordSize int64, oversize string) *Reporter {
	return &Reporter{
		Name: name, Backend: backend, Logger: logger, Meters: meters,
		record:   []zap.Field{zap.Int64("max_record_size", maxRecordSize), zap.String("policy", oversize)},
		failures: ratelog.Warnings(), sizes: ratelog.Warnings(), refusals: ratelog.Warnings(),
	}
}

// Connecting counts an attempt to open an upstream.
func (r *Reporter) Connecting() { r.Meters.Connects.Inc() }

// Failed counts the failure of an upstream and logs it with these fields.
func (r *Reporter) Failed(err error, about ...zap.Field) {
	r.Meters.Failures.Inc()
	if log := r.warnings(r.failures); log != nil {
		log.Warn("upstream failed", append(about, zap.Error(failure.Plain(err)))...)
	}
}

// FailedAgain counts the failure of an upstream that will be opened again. It logs the failure if it is the first of several in a row,
// and if the limit allows. It reports whether it has logged.
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

// TooLarge logs a record that is too large. why is the message.
func (r *Reporter) TooLarge(why string) {
	if log := r.warnings(r.sizes); log != nil {
		log.Warn(why, r.record...)
	}
}

// Refused counts a stream that a client asked for and does not get, and logs it: as a warning if the status is a server error, and
// otherwise at debug. It returns the handler's error.
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

// warnings returns the logger for a warning, or nil if the limit does not allow one now. The logger adds the number of warnings that
// were left out since the last one.
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
