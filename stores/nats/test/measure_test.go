package nats_test

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

var measured = flag.Duration("measured", 200*time.Millisecond, "how long each case is measured")

// TestMessagesAreAddedAndFollowedAtFullSpeed prints how long it takes to add a message, and until another connection has it:
// go test -run FullSpeed -measured 5s -v
func TestMessagesAreAddedAndFollowedAtFullSpeed(t *testing.T) {
	one := startServer(t)
	three1 := startCluster(t)
	open(t, []*server{one}).awaitUp(t)
	open(t, three1, three).awaitUp(t)
	for _, logs := range []int{1, 50} {
		for _, size := range []int{200, 16 << 10} {
			for name, servers := range map[string][]*server{"1 server": {one}, "3 servers": three1} {
				a, b := open(t, servers, three), open(t, servers, three)
				if len(servers) == 1 {
					a, b = open(t, servers), open(t, servers)
				}
				a.awaitUp(t)
				b.awaitUp(t)
				measureLogs(t, fmt.Sprintf("%s, %d logs, %d bytes", name, logs, size), a, b, logs, size)
			}
		}
	}
}

func measureLogs(t *testing.T, name string, a, b opened, logs, size int) {
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var appends, follows, trims []time.Duration
	var followers, writers sync.WaitGroup
	began := time.Now()
	for i := range logs {
		log := fmt.Sprintf("m%d%d%d", time.Now().UnixNano(), i, size)
		followers.Go(func() {
			_ = b.Log(log).Follow(ctx, 0, func(m store.Message) error {
				took := time.Since(began) - time.Duration(binary.BigEndian.Uint64(m.Data))
				mu.Lock()
				follows = append(follows, took)
				mu.Unlock()
				return nil
			})
		})
		writers.Go(func() {
			l := a.Log(log)
			data := make([]byte, size)
			var pos store.Pos
			var places []store.Pos
			for time.Since(began) < *measured {
				start := time.Since(began)
				binary.BigEndian.PutUint64(data, uint64(start))
				var err error
				if pos, err = l.Append(ctx, pos, data); err != nil {
					t.Error(name, err)
					return
				}
				took := time.Since(began) - start
				places = append(places, pos)
				trim := time.Duration(-1)
				if len(places) == 576 {
					places = places[64:]
					start := time.Since(began)
					if err := l.Trim(ctx, places[0]); err != nil {
						t.Error(name, err)
						return
					}
					trim = time.Since(began) - start
				}
				mu.Lock()
				appends = append(appends, took)
				if trim >= 0 {
					trims = append(trims, trim)
				}
				mu.Unlock()
			}
		})
	}
	writers.Wait()
	took := time.Since(began)
	all := func() bool { mu.Lock(); defer mu.Unlock(); return len(follows) >= len(appends) }
	for end := time.Now().Add(within); !all(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("%s: followed %d of %d messages", name, len(follows), len(appends))
			break
		}
	}
	cancel()
	followers.Wait()
	t.Logf("%s: %.0f/s, append %s, follow %s, trim %s", name, float64(len(appends))/took.Seconds(),
		quantiles(appends), quantiles(follows), quantiles(trims))
}

func quantiles(d []time.Duration) string {
	if len(d) == 0 {
		return "-"
	}
	slices.Sort(d)
	at := func(q float64) time.Duration { return d[int(q*float64(len(d)-1))].Round(10 * time.Microsecond) }
	return fmt.Sprintf("p50 %v p99 %v max %v", at(0.5), at(0.99), at(1))
}
