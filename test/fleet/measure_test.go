//go:build integration

package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var measured = flag.Duration("fleet.measured", time.Second, "how long each case is measured")

// TestWhatAStoreCosts prints the time from an upstream's write to a client's read, and the processor time of the Caddys.
func TestWhatAStoreCosts(t *testing.T) {
	const rate = 200
	for _, name := range []string{"", "redis", "nats", "nats x3"} {
		for _, caddys := range []int{1, 2, 4} {
			if name == "" && caddys > 1 {
				continue
			}
			t.Run(fmt.Sprintf("%s, %d Caddys", name, caddys), func(t *testing.T) {
				e := &engine{}
				if name != "" {
					e = engines[name](t)
				}
				before := *processes
				*processes = caddys
				defer func() { *processes = before }()
				f := newFleet(t, e, rate, false)
				stamped := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "application/x-ndjson")
					ticks := time.NewTicker(time.Second / rate)
					defer ticks.Stop()
					for r.Context().Err() == nil {
						fmt.Fprintf(w, "{\"t\":%d,\"text\":\"%0150d\"}\n", time.Now().UnixNano(), 0)
						_ = http.NewResponseController(w).Flush()
						<-ticks.C
					}
				}))
				t.Cleanup(func() { stamped.CloseClientConnections(); stamped.Close() })
				for i, p := range f.caddys {
					config, err := os.ReadFile(p.args[2])
					if err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(p.args[2], []byte(strings.ReplaceAll(string(config), f.upstream.URL, stamped.URL)), 0o600); err != nil {
						t.Fatal(err)
					}
					f.reload(i)
				}
				f.measure(t, *measured)
			})
		}
	}
}

func (f *fleet) measure(t *testing.T, long time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	var delays []time.Duration
	counting := false
	connected := make(map[int]bool) // the clients that have had an event
	var reading sync.WaitGroup
	for i := range *clients {
		reading.Go(func() {
			r, _ := http.NewRequestWithContext(ctx, http.MethodGet, f.proxy.url(), nil)
			response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
			if err != nil {
				return
			}
			defer response.Body.Close()
			lines := bufio.NewScanner(response.Body)
			for lines.Scan() {
				data, ok := strings.CutPrefix(lines.Text(), "data: ")
				if !ok {
					continue
				}
				var record struct{ T int64 }
				if json.Unmarshal([]byte(data), &record) != nil || record.T == 0 {
					continue
				}
				mu.Lock()
				connected[i] = true
				if counting {
					delays = append(delays, time.Duration(time.Now().UnixNano()-record.T))
				}
				mu.Unlock()
			}
		})
	}
	wait(t, "an event for each client", func() bool { mu.Lock(); defer mu.Unlock(); return len(connected) == *clients })
	mu.Lock()
	counting = true
	mu.Unlock()
	before := f.processorTime()
	time.Sleep(long)
	used := f.processorTime() - before
	mu.Lock()
	counting = false
	mu.Unlock()
	cancel()
	reading.Wait()
	if len(delays) == 0 {
		t.Fatal("no event")
	}
	slices.Sort(delays)
	at := func(share float64) time.Duration {
		return delays[int(share*float64(len(delays)-1))].Round(10 * time.Microsecond)
	}
	t.Logf("%d deliveries, delay p50 %v, p99 %v, %.1f µs of processor time a delivery", len(delays), at(.5), at(.99), used.Seconds()*1e6/float64(len(delays)))
}

// processorTime returns what all Caddys have used.
func (f *fleet) processorTime() (total time.Duration) {
	f.t.Helper()
	for _, p := range f.caddys {
		p.mu.Lock()
		pid := p.cmd.Process.Pid
		p.mu.Unlock()
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			f.t.Fatal(err)
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, field := range fields[11:13] { // utime and stime, in hundredths of a second
			ticks, _ := strconv.Atoi(field)
			total += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return total
}
