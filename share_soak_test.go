//go:build linux || darwin

package sse_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// raiseFileLimit raises the limit of open files for both ends of so many connections, if possible. It returns the possible number.
func raiseFileLimit(t *testing.T, connections int) int {
	t.Helper()
	const others = 500
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	want := uint64(2*connections + others)
	if limit.Cur >= want {
		return connections
	}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: want, Max: max(limit.Max, want)}) == nil {
		return connections
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: limit.Max, Max: limit.Max}); err != nil {
		t.Fatalf("raising the limit of open files to %d: %v", limit.Max, err)
	}
	return (int(limit.Max) - others) / 2
}

// speak makes the hub send one number after the other until ctx ends. It returns the count.
func speak(ctx context.Context, u *hub, interval time.Duration, said func(n int)) int {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-tick.C:
			said(n)
			u.say(numbers(n, n))
		case <-ctx.Done():
			return n - 1
		}
	}
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// The figures are those of server and clients in one process.
func TestManyClientsGetEveryEventOnceInOrder(t *testing.T) {
	clients, lasts, interval := 200, 2*time.Second, 20*time.Millisecond
	if soaking() {
		clients, lasts = 2000, 20*time.Second
	}
	clients = raiseFileLimit(t, clients)
	server, u := sharing(t, "end over")
	before := inUse()

	var sentAt [1 << 16]atomic.Int64
	var mu sync.Mutex
	var late []time.Duration
	var reading sync.WaitGroup
	readers := make([]*reader, clients)
	for i := range readers {
		c := &reader{path: "/", next: 1}
		var mine []time.Duration
		c.onNumber = func(n int) { mine = append(mine, time.Duration(time.Now().UnixNano()-sentAt[n].Load())) }
		readers[i] = c
		conn, err := net.Dial("tcp", server.Addr("http"))
		if err != nil {
			t.Fatal(err)
		}
		reading.Go(func() {
			defer conn.Close()
			_ = c.read(conn)
			mu.Lock()
			defer mu.Unlock()
			late = append(late, mine...)
		})
	}
	ssetest.Wait(t, "all clients", func() bool { return counted(t, metrics.StreamsActive.WithLabelValues("")) == float64(clients) })
	u.wait(t, 1)
	perClient := (inUse() - before) / uint64(clients)

	ctx, cancel := context.WithTimeout(context.Background(), lasts)
	defer cancel()
	cpu := cpuTime()
	said := speak(ctx, u, interval, func(n int) { sentAt[n].Store(time.Now().UnixNano()) })
	cpu = cpuTime() - cpu
	u.end(nil)
	reading.Wait()

	for i, c := range readers {
		if c.got != said || c.lost+c.again+c.gaps > 0 {
			t.Errorf("client %d: %d of %d events, %d lost, %d again, %d gaps", i, c.got, said, c.lost, c.again, c.gaps)
		}
	}
	if n := len(u.joined()); n != 1 {
		t.Errorf("%d upstream connections, want 1", n)
	}
	t.Logf("%d clients, %d records: latency p50 %v, p99 %v, max %v; CPU %v; %d KiB per client", clients, said,
		percentile(late, 0.5), percentile(late, 0.99), percentile(late, 1), cpu, perClient>>10)
}

// percentile returns the latency that this share of the records did not exceed.
func percentile(late []time.Duration, p float64) time.Duration {
	if len(late) == 0 {
		return 0
	}
	slices.Sort(late)
	return late[int(float64(len(late)-1)*p)]
}

// Some of the clients stop reading half-way. The latency of the others is only logged, because it depends on other processes on the
// machine.
func TestSoakClientsThatStopReadingDisturbNobody(t *testing.T) {
	if !soaking() {
		t.Skip("it takes half a minute to fill a connection's buffers: SSE_SOAK=1 runs it, as CI does")
	}
	const stuck, half, interval = 10, 500, 20 * time.Millisecond
	clients := raiseFileLimit(t, 1000)
	u := newHub(t)
	route := func(path, data string) string {
		return "handle " + path + " {\nsse {\nbackend test_hub " + u.name + "\nshare\nend over\ndata " + data + "\n}\n}\n"
	}
	// Only those who will stop get so much that it fills their connections' buffers.
	server := startSharing(t, ssetest.Site(route("/", "{record.n}")+route("/stops", "{record.n}{record.pad}")))
	lagged, ended := counted(t, metrics.ClientsLagged.WithLabelValues("")), counted(t, metrics.StreamsEnded.WithLabelValues("", stream.EndLag))
	before := inUse()

	var sentAt [2*half + 1]atomic.Int64
	release := make(chan struct{})
	var mu sync.Mutex
	var alone, beside []time.Duration // latencies, before some stopped and after
	var reading sync.WaitGroup
	readers := make([]*reader, clients)
	for i := range readers {
		conn, err := net.Dial("tcp", server.Addr("http"))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
		c := &reader{path: "/", next: 1}
		if i < stuck {
			c.path = "/stops"
		}
		readers[i] = c
		mine := make([]time.Duration, 0, 2*half)
		c.onNumber = func(n int) {
			mine = append(mine, time.Duration(time.Now().UnixNano()-sentAt[n].Load()))
			if i < stuck && n == half {
				<-release
				conn.Close()
			}
		}
		reading.Go(func() {
			defer conn.Close()
			_ = c.read(conn)
			mu.Lock()
			defer mu.Unlock()
			if i >= stuck {
				first := min(half, len(mine))
				alone, beside = append(alone, mine[:first]...), append(beside, mine[first:]...)
			}
		})
	}
	ssetest.Wait(t, "all clients", func() bool { return counted(t, metrics.StreamsActive.WithLabelValues("")) == float64(clients) })
	u.wait(t, 1)

	pad := strings.Repeat("\n"+strings.Repeat("x", 500), 32)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for n := 1; n <= 2*half; n++ {
		<-tick.C
		sentAt[n].Store(time.Now().UnixNano())
		u.say(fmt.Sprintf("{\"n\":%d,\"pad\":%q}\n", n, pad))
	}
	perClient := int(inUse()-before) / clients
	if lagged, ended = counted(t, metrics.ClientsLagged.WithLabelValues(""))-lagged, counted(t, metrics.StreamsEnded.WithLabelValues("", stream.EndLag))-ended; lagged != stuck || ended != stuck {
		t.Errorf("%v clients lagged, and %v streams ended for that reason, want %d", lagged, ended, stuck)
	}
	u.end(nil)
	close(release)
	reading.Wait()

	for i, c := range readers[stuck:] {
		if c.got != 2*half || c.lost+c.again+c.gaps > 0 {
			t.Fatalf("client %d: %d of %d events, %d lost, %d again, %d gaps", i, c.got, 2*half, c.lost, c.again, c.gaps)
		}
	}
	t.Logf("p99 %v while all read, %v while %d of %d do not; %d KiB per client", percentile(alone, 0.99), percentile(beside, 0.99),
		stuck, clients, perClient>>10)
}

// There are ten thousand clients if the process may have so many connections open.
func TestSoakTenThousandQuietClients(t *testing.T) {
	if !soaking() {
		t.Skip("it takes 20,000 open files: SSE_SOAK=1 runs it, as CI does")
	}
	clients := raiseFileLimit(t, 10_000)
	const beats = 10
	server, u := sharing(t, "end over\nheartbeat 2s")
	before := inUse()
	var reading sync.WaitGroup
	readers := make([]*reader, clients)
	for i := range readers {
		readers[i] = &reader{path: "/", next: 1}
		conn, err := net.Dial("tcp", server.Addr("http"))
		if err != nil {
			t.Fatal(err)
		}
		reading.Go(func() {
			defer conn.Close()
			_ = readers[i].read(conn)
		})
	}
	ssetest.Wait(t, "all clients", func() bool { return counted(t, metrics.StreamsActive.WithLabelValues("")) == float64(clients) })
	u.wait(t, 1)
	began, cpu := time.Now(), cpuTime()
	sentBytes := func() float64 { return stream.SentBytes()[""] }
	for want, n := sentBytes(), 0; n < beats; n++ {
		want += float64(clients * len(eventstream.Comment))
		ssetest.Wait(t, "everybody's heartbeats", func() bool { return sentBytes() >= want })
	}
	cpu = cpuTime() - cpu
	t.Logf("%d quiet clients: %d KiB per client, both its ends, CPU %v in %v", clients, int(inUse()-before)/clients>>10, cpu,
		time.Since(began).Round(time.Second))
	u.say(numbers(1, 1))
	u.end(nil)
	reading.Wait()
	for i, c := range readers {
		if c.got != 1 || c.lost+c.again+c.gaps > 0 {
			t.Errorf("client %d: %d events, %d lost, %d again, %d gaps", i, c.got, c.lost, c.again, c.gaps)
		}
	}
}

// Clients are killed at random and reconnect with their last id. They must not notice events at the server meanwhile.
func TestClientsThatAreKilledResumeWithoutLossOrRepetition(t *testing.T) {
	clients, lasts, every := 20, 1500*time.Millisecond, 400*time.Millisecond
	if soaking() {
		clients, lasts, every = 500, 20*time.Second, 1500*time.Millisecond
	}
	clients = raiseFileLimit(t, clients)
	u := newHub(t)
	byBackend := shared(u, "share {\nhistory 4096\n}")
	byProxy := viaProxy(ssetest.Upstream(t, u.ServeHTTP), "share {\nhistory 4096\n}")
	restart := func(*ssetest.Server, string) {
		u.end(nil)
		u.wait(t, 1)
	}
	reload := func(server *ssetest.Server, config string) { server.Reload(config) }
	for _, tc := range []struct {
		name    string
		config  string
		disturb func(*ssetest.Server, string)
		gaps    bool // the upstream's records are lost while it is let go, which is said
	}{
		{"while nothing else happens", byBackend, nil, false},
		{"while the upstream restarts", byBackend, restart, false},
		{"while a backend's config reloads", byBackend, reload, false},
		{"while a next handler's config reloads", byProxy, reload, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := startSharing(t, tc.config)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var following sync.WaitGroup
			readers := make([]*reader, clients)
			calm := make(chan struct{})
			var disturbed, settled atomic.Int64 // the last number before the calm, and how many clients got a later one
			disturbed.Store(math.MaxInt64)
			for i := range readers {
				c := &reader{path: "/"}
				readers[i] = c
				var once sync.Once
				c.onNumber = func(n int) {
					if int64(n) > disturbed.Load() {
						once.Do(func() { settled.Add(1) })
					}
				}
				following.Go(func() { keepReading(ctx, calm, server.Addr("http"), c) })
			}
			u.wait(t, 1)

			// Numbers are said only to who is there: a restart itself loses none.
			said := 0
			for end, next := time.Now().Add(lasts), time.Now().Add(every); time.Now().Before(end); {
				if tc.disturb != nil && time.Now().After(next) {
					next = next.Add(every)
					tc.disturb(server, tc.config)
				}
				if len(u.connected()) > 0 {
					said++
					u.say(numbers(said, said))
				}
				time.Sleep(5 * time.Millisecond)
			}
			ssetest.Wait(t, "the connection", func() bool { return len(u.connected()) == 1 })
			disturbed.Store(int64(said))
			close(calm)
			ssetest.Wait(t, "all clients to catch up", func() bool {
				said++
				u.say(numbers(said, said))
				return settled.Load() == int64(clients)
			})
			cancel()
			following.Wait()
			events := 0
			for i, c := range readers {
				events += c.got
				if c.again > 0 || !tc.gaps && c.lost+c.gaps > 0 {
					t.Errorf("client %d: %d events, %d lost, %d again, %d gaps", i, c.got, c.lost, c.again, c.gaps)
				}
				if c.lost > 0 && c.gaps == 0 {
					t.Errorf("client %d: %d lost, and nobody said so", i, c.lost)
				}
			}
			t.Logf("%d records, %d events", said, events)
		})
	}
}

// keepReading runs a client that reads, is killed, and reconnects, until ctx ends. After calm, it is not killed any more.
func keepReading(ctx context.Context, calm <-chan struct{}, address string, c *reader) {
	for ctx.Err() == nil {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			continue
		}
		life, kill := context.WithCancel(ctx)
		select {
		case <-calm:
		default:
			time.AfterFunc(rand.N(300*time.Millisecond), kill)
		}
		stop := context.AfterFunc(life, func() { conn.Close() })
		_ = c.read(conn)
		stop()
		kill()
		conn.Close()
	}
}
