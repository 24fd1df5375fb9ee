// Package ratelog limits how often a line is logged that may come again and again.
package ratelog

import (
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Limiter limits the lines of one kind, and counts those that it drops. A nil Limiter drops none.
type Limiter struct {
	lines   *rate.Limiter
	dropped atomic.Int64
}

// New returns a Limiter that lets through as many as most lines at once, and as many again each time that passes.
func New(most int, each time.Duration) *Limiter {
	return &Limiter{lines: rate.NewLimiter(rate.Every(each/time.Duration(most)), most)}
}

// Warnings returns a Limiter for warnings: an upstream that is down fails every client, over and over.
func Warnings() *Limiter { return New(WarningsAtOnce, 10*time.Second) }

// WarningsAtOnce is how many warnings of a kind are logged before any is dropped.
const WarningsAtOnce = 3

// Allow reports whether another line may be logged. If so, it returns how many were dropped since the last one.
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
