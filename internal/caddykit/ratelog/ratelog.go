// Package ratelog limits the rate of log lines that may repeat.
package ratelog

import (
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Limiter limits the log lines of one kind, and counts the lines that it drops. A nil Limiter drops none.
type Limiter struct {
	lines   *rate.Limiter
	dropped atomic.Int64
}

// New returns a Limiter that allows most lines at once, and most lines in each period after that.
func New(most int, each time.Duration) *Limiter {
	return &Limiter{lines: rate.NewLimiter(rate.Every(each/time.Duration(most)), most)}
}

// Warnings returns a Limiter for warnings. An upstream that is down, for example, makes the streams of all clients fail repeatedly.
func Warnings() *Limiter { return New(WarningsAtOnce, 10*time.Second) }

// WarningsAtOnce is the number of warnings of one kind that are logged before any is dropped.
const WarningsAtOnce = 3

// Allow reports whether a line may be logged. If so, it returns the number of lines dropped since the last one.
func (l *Limiter) Allow() (ok bool, dropped int) { return l.allow(time.Now()) }

func (l *Limiter) allow(now time.Time) (ok bool, dropped int) {
	if l == nil {
		return true, 0
	}
	if !l.lines.AllowN(now, 1) {
		l.dropped.Add(1)
		return false, 0
	}
	return true, int(l.dropped.Swap(0))
}
