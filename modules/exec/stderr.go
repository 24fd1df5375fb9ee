package exec

import (
	"bytes"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/ratelog"
	"go.uber.org/zap"
)

// lineLogger writes lines to the log.
type lineLogger struct {
	logger *zap.Logger
	limit  *ratelog.Limiter
	line   []byte
}

// maxLogLine is the most bytes of a line that are logged.
const maxLogLine = 4 << 10

func (l *lineLogger) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		text, ended := bytes.CutSuffix(line, []byte("\n"))
		l.line = append(l.line, text[:min(len(text), maxLogLine-len(l.line))]...)
		if ended {
			l.flush()
		}
	}
	return len(p), nil
}

func (l *lineLogger) flush() {
	if line := bytes.TrimRight(l.line, "\r"); len(line) > 0 {
		if ok, dropped := l.limit.Allow(); ok {
			if dropped > 0 {
				l.logger.Info("lines of standard error were not logged, as there were too many", zap.Int("lines", dropped))
			}
			l.logger.Info("standard error", zap.String("line", string(line)))
		}
	}
	l.line = l.line[:0]
}

// stderrLines is the most lines of standard error that are logged per second.
const stderrLines = 20
