package sse

import (
	"bytes"
	"sync"
	"time"

	"go.uber.org/zap"
)

// lineLogger writes lines to the log.
type lineLogger struct {
	logger *zap.Logger
	limit  *logLimit
	line   []byte
}

// maxLogLine is how much of a line is logged.
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
		if ok, dropped := l.limit.allow(time.Now(), stderrRate); ok {
			if dropped > 0 {
				l.logger.Info("lines of standard error were not logged, as there were too many", zap.Int("lines", dropped))
			}
			l.logger.Info("standard error", zap.String("line", string(line)))
		}
	}
	l.line = l.line[:0]
}

// stderrRate is how many lines are logged: those of all the processes of a backend together.
var stderrRate = logRate{most: 20, each: time.Second}

// logRate is how many lines of a kind are logged at most.
type logRate struct {
	most int
	each time.Duration
}

// logLimit keeps to a logRate.
type logLimit struct {
	mu      sync.Mutex
	since   time.Time
	logged  int
	dropped int
}

// allow is whether another line may be logged; if so, it returns how many were not since the last one that was.
func (l *logLimit) allow(now time.Time, rate logRate) (ok bool, dropped int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.since) >= rate.each {
		l.since, l.logged = now, 0
	}
	if l.logged == rate.most {
		l.dropped++
		return false, 0
	}
	l.logged++
	dropped, l.dropped = l.dropped, 0
	return true, dropped
}
