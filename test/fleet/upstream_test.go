//go:build integration

package fleet

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"
)

// upstream sends numbers, each once in an interval. It can continue after any.
type upstream struct {
	*httptest.Server
	interval time.Duration
	resumes  bool
	began    time.Time

	mu    sync.Mutex
	open  int
	most  int // that were open at the same time
	asked int
}

func newUpstream(t *testing.T, interval time.Duration, resumes bool) *upstream {
	u := &upstream{interval: interval, resumes: resumes, began: time.Now()}
	u.Server = httptest.NewServer(u)
	t.Cleanup(func() {
		u.CloseClientConnections()
		u.Close()
	})
	return u
}

// newest returns the newest number.
func (u *upstream) newest() int { return int(time.Since(u.began) / u.interval) }

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.count(1)
	defer u.count(-1)
	sent := u.newest()
	if since, err := strconv.Atoi(r.URL.Query().Get("since")); err == nil && u.resumes {
		sent = since
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	_ = http.NewResponseController(w).Flush()
	ticks := time.NewTicker(u.interval)
	defer ticks.Stop()
	for {
		newest := u.newest()
		for ; sent < newest; sent++ {
			if _, err := fmt.Fprintf(w, "{\"n\":%d}\n", sent+1); err != nil {
				return
			}
		}
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-ticks.C:
		case <-r.Context().Done():
			return
		}
	}
}

func (u *upstream) count(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.open += n
	u.most = max(u.most, u.open)
	if n > 0 {
		u.asked++
	}
}

func (u *upstream) counts() (open, most, asked int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.open, u.most, u.asked
}
