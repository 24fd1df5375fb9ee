//go:build integration

package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

var (
	duration  = flag.Duration("fleet.duration", 8*time.Second, "how long faults go on")
	clients   = flag.Int("fleet.clients", 30, "how many clients there are")
	kills     = flag.Int("fleet.kills", 2, "how often a leader is killed, and how often it is stopped")
	outage    = flag.Duration("fleet.outage", 5*time.Second, "how long the store is away")
	processes = flag.Int("fleet.processes", 3, "how many Caddys there are")
)

// fleet is Caddys with one store, and all that is around them.
type fleet struct {
	t         *testing.T
	caddys    []*process
	admins    []string
	addresses []string // of their sites
	upstream  *upstream
	proxy     *proxy
	checker   *checker

	stop    context.CancelFunc
	reading sync.WaitGroup
}

// newFleet starts Caddys before an upstream that sends that many records in a second.
func newFleet(t *testing.T, e *engine, rate int, resumes bool) *fleet {
	t.Helper()
	u := newUpstream(t, time.Second/time.Duration(rate), resumes)
	options := "backend http " + u.URL + "/"
	if resumes {
		options += "?since={last_id}\nid {record.n}"
	}
	f := startFleet(t, e, options, "share numbers")
	f.upstream, f.checker = u, newChecker(t, resumes)
	return f
}

// startFleet starts Caddys whose sse has these options, and shares by that line.
func startFleet(t *testing.T, e *engine, options, share string) *fleet {
	t.Helper()
	program, _ := build(t)
	f := &fleet{t: t}
	for i := range *processes {
		address, admin := ssetest.FreeAddress(t), ssetest.FreeAddress(t)
		folder := t.TempDir()
		file := filepath.Join(folder, "Caddyfile")
		config := fmt.Sprintf("{\nadmin %s\npersist_config off\nlog {\nlevel DEBUG\n}\n}\nhttp://%s {\nsse {\n%s\ndrain 1s\nretry 100ms\n%s {\nhistory 20000 16MiB\nlinger 2s\n%s\n}\n}\n}\n", admin, address, options, share, e.store)
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		p := newProcess(t, fmt.Sprintf("caddy%d", i), address, program, "run", "--config", file)
		p.folder, p.env = folder, []string{"XDG_DATA_HOME=" + folder, "XDG_CONFIG_HOME=" + folder}
		f.caddys, f.admins, f.addresses = append(f.caddys, p), append(f.admins, admin), append(f.addresses, address)
	}
	for _, p := range f.caddys {
		p.start()
	}
	f.proxy = newProxy(t, f.addresses...)
	return f
}

// read has clients read until the test ends.
func (f *fleet) read(n int) {
	ctx, cancel := context.WithCancel(context.Background())
	f.stop = cancel
	f.t.Cleanup(func() { cancel(); f.reading.Wait() })
	for i := range n {
		c := &client{checker: f.checker, number: i, url: f.proxy.url()}
		f.reading.Go(func() { c.run(ctx) })
	}
}

// waitCurrent waits until all clients have what the upstream sends now.
func (f *fleet) waitCurrent(what string, n int) {
	f.t.Helper()
	target := f.upstream.newest() + 1
	wait(f.t, "all clients to be current "+what, func() bool { return f.checker.behind(n) >= target })
}

// leader returns the index of the Caddy that has the upstream, or -1.
func (f *fleet) leader() int {
	for i, admin := range f.admins {
		var list []struct{ Role string }
		client := http.Client{Timeout: time.Second}
		response, err := client.Get("http://" + admin + "/sse/sources")
		if err != nil {
			continue
		}
		err = json.NewDecoder(response.Body).Decode(&list)
		response.Body.Close()
		if err == nil && slices.ContainsFunc(list, func(s struct{ Role string }) bool { return s.Role == "leader" }) {
			return i
		}
	}
	return -1
}

func (f *fleet) waitLeader() int {
	f.t.Helper()
	leader := -1
	wait(f.t, "a leader", func() bool { leader = f.leader(); return leader >= 0 })
	return leader
}

// end has the clients stop, and checks the upstream's connections.
func (f *fleet) end() {
	f.t.Helper()
	f.stop()
	f.reading.Wait()
	open, most, asked := f.upstream.counts()
	f.t.Logf("%s; the upstream was asked %d times, by at most %d at a time", f.checker.summary(), asked, most)
	if open > 1 {
		f.t.Errorf("%d connections to the upstream at the end", open)
	}
}

// wantNoGaps checks that nobody was told of a loss where there was none.
func (f *fleet) wantNoGaps() {
	f.t.Helper()
	f.checker.mu.Lock()
	defer f.checker.mu.Unlock()
	for reason, n := range f.checker.gaps {
		f.checker.fail("%d gaps because of %s", n, reason)
	}
}

func TestClientsOfAFleetMissNothingWhateverIsKilled(t *testing.T) {
	for _, resumes := range []bool{true, false} {
		t.Run(fmt.Sprintf("resumes %v", resumes), func(t *testing.T) {
			each(t, func(t *testing.T, e *engine) {
				f := newFleet(t, e, 200, resumes)
				f.read(*clients)
				f.waitCurrent("at the start", *clients)
				for end := time.Now().Add(*duration); time.Now().Before(end) && !t.Failed(); {
					f.fault(e)
				}
				f.waitCurrent("at the end", *clients)
				f.end()
			})
		})
	}
}

// fault does something to a process, and waits for a while.
func (f *fleet) fault(e *engine) {
	i := rand.IntN(len(f.caddys))
	p := f.caddys[i]
	switch what := rand.IntN(6); what {
	case 0, 1:
		f.checker.note("kill %s, leader %d", p.name, f.leader())
		p.kill()
		time.Sleep(rand.N(4 * time.Second))
		p.start()
	case 2:
		f.checker.note("freeze %s, leader %d", p.name, f.leader())
		p.signal(syscall.SIGSTOP)
		time.Sleep(rand.N(6 * time.Second))
		p.signal(syscall.SIGCONT)
	case 3:
		f.checker.note("stop %s, leader %d", p.name, f.leader())
		p.signal(syscall.SIGTERM)
		p.wait()
		p.start()
	case 4:
		f.checker.note("reload %s", p.name)
		f.reload(i)
	default:
		s := e.servers[rand.IntN(len(e.servers))]
		f.checker.note("kill %s", s.name)
		s.kill()
		time.Sleep(rand.N(2 * time.Second))
		s.start()
	}
	f.checker.note("done")
	time.Sleep(rand.N(2 * time.Second))
}

func (f *fleet) reload(i int) {
	f.t.Helper()
	p := f.caddys[i]
	config, err := os.Open(p.args[2])
	if err != nil {
		f.t.Fatal(err)
	}
	defer config.Close()
	r, _ := http.NewRequest(http.MethodPost, "http://"+f.admins[i]+"/load", config)
	r.Header.Set("Content-Type", "text/caddyfile")
	r.Header.Set("Cache-Control", "must-revalidate") // although nothing has changed
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		f.t.Errorf("reload: %v", err)
		return
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		f.t.Errorf("reload: %s", response.Status)
	}
}

// TestALeaderThatIsGoneIsReplaced measures how long clients of other processes get nothing.
func TestALeaderThatIsGoneIsReplaced(t *testing.T) {
	for name, end := range map[string]func(p *process){
		"killed":  func(p *process) { p.kill() },
		"stopped": func(p *process) { p.signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, e *engine) {
				f := newFleet(t, e, 200, true)
				f.read(*clients)
				f.waitCurrent("at the start", *clients)
				var took []time.Duration
				for range *kills {
					p := f.caddys[f.waitLeader()]
					f.checker.note("%s ends", p.name)
					before := f.upstream.newest()
					began := time.Now()
					end(p)
					// Records from after its end come from another one.
					_, _, asked := f.upstream.counts()
					wait(t, "another process to ask the upstream, and events from it", func() bool {
						_, _, now := f.upstream.counts()
						f.checker.mu.Lock()
						defer f.checker.mu.Unlock()
						newest := 0
						for _, n := range f.checker.newest {
							newest = max(newest, n)
						}
						return now > asked && newest > before+1
					})
					took = append(took, time.Since(began))
					p.wait()
					p.start()
					f.waitCurrent("after that", *clients)
				}
				slices.Sort(took)
				t.Logf("first event of another process after %v (median), %v (worst) of %d", took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), len(took))
				f.end()
				f.wantNoGaps()
			})
		})
	}
}

func TestALeaderThatWasFrozenIsNotHeard(t *testing.T) {
	each(t, func(t *testing.T, e *engine) {
		f := newFleet(t, e, 200, true)
		f.read(*clients)
		f.waitCurrent("at the start", *clients)
		frozen := f.waitLeader()
		f.checker.note("%s is frozen", f.caddys[frozen].name)
		f.caddys[frozen].signal(syscall.SIGSTOP)
		wait(t, "another leader", func() bool { l := f.leader(); return l >= 0 && l != frozen })
		time.Sleep(2500 * time.Millisecond) // twice the lease, and what comes meanwhile waits in its socket
		f.checker.note("and goes on")
		f.caddys[frozen].signal(syscall.SIGCONT)
		f.waitCurrent("after that", *clients)
		wait(t, "one connection to the upstream", func() bool { open, _, _ := f.upstream.counts(); return open == 1 })
		f.end()
		f.wantNoGaps()
	})
}

func TestAStoreThatIsAwayHoldsEventsBackAndLosesNone(t *testing.T) {
	each(t, func(t *testing.T, e *engine) {
		f := newFleet(t, e, 200, true)
		f.read(*clients)
		f.waitCurrent("at the start", *clients)
		f.checker.note("the store is away")
		for _, s := range e.servers {
			s.kill()
		}
		time.Sleep(*outage)
		f.checker.note("the store is back")
		for _, s := range e.servers {
			s.begin()
		}
		f.waitCurrent("after that", *clients)
		f.end()
		f.wantNoGaps()
	})
}

func TestAnOlderCopyOfTheStoresDataIsNoSecret(t *testing.T) {
	each(t, func(t *testing.T, e *engine) {
		f := newFleet(t, e, 200, false)
		f.read(*clients)
		f.waitCurrent("at the start", *clients)
		copies := e.copy(t)
		f.waitCurrent("after the copy", *clients)
		f.checker.note("the store's data are those of before")
		e.restore(t, copies)
		f.waitCurrent("after the loss", *clients)
		f.end()
		f.checker.mu.Lock()
		defer f.checker.mu.Unlock()
		// A client that reconnects meanwhile, and has seen all that is lost, misses nothing because of the store.
		all := 0
		for _, n := range f.checker.gaps {
			all += n
		}
		if f.checker.gaps["store"] == 0 || all < *clients {
			f.checker.fail("gaps %v, want one of each client, and some because of the store", f.checker.gaps)
		}
	})
}

func TestClientsResumeAfterAllProcessesWereKilled(t *testing.T) {
	each(t, func(t *testing.T, e *engine) {
		f := newFleet(t, e, 200, true)
		f.read(*clients)
		f.waitCurrent("at the start", *clients)
		for _, p := range f.caddys {
			p.kill()
		}
		time.Sleep(time.Second)
		for _, p := range f.caddys {
			p.start()
		}
		f.waitCurrent("after that", *clients)
		f.end()
		f.wantNoGaps()
	})
}

func TestRecordsThatAnyProcessReceivesReachTheClientsOfAllInOneOrder(t *testing.T) {
	each(t, func(t *testing.T, e *engine) {
		f := startFleet(t, e, "backend listen unix/feed.sock", "share") // each in a folder of its own
		var streams []*ssetest.Stream
		for _, address := range f.addresses {
			streams = append(streams, ssetest.Get(t, ssetest.Client(t, "h1"), "http://"+address+"/"))
		}
		for _, s := range streams {
			wait(t, "the opening block", func() bool { return s.State().LastEventID != "" })
		}
		const each = 200
		var sending sync.WaitGroup
		for i, p := range f.caddys {
			sending.Go(func() {
				socket := filepath.Join(p.folder, "feed.sock")
				var conn net.Conn
				wait(t, "the socket of "+p.name, func() (ok bool) {
					var err error
					conn, err = net.Dial("unix", socket)
					return err == nil
				})
				defer conn.Close()
				for n := range each {
					fmt.Fprintf(conn, "%d:%d\n", i, n)
				}
			})
		}
		sending.Wait()
		all := streams[0].WaitEvents(each * len(f.caddys))
		next := make(map[string]int)
		for _, event := range all {
			process, n, _ := strings.Cut(event.Data, ":")
			if n != strconv.Itoa(next[process]) {
				t.Fatalf("%s of process %s, want %d", n, process, next[process])
			}
			next[process]++
		}
		for _, s := range streams[1:] {
			for i, event := range s.WaitEvents(len(all)) {
				if event.Data != all[i].Data || event.ID != all[i].ID {
					t.Fatalf("event %d is %s %q, and %s %q at another process", i, event.ID, event.Data, all[i].ID, all[i].Data)
				}
			}
		}
	})
}

// TestAnAnswerWhoseProcessDiesIsAnErrorAndIsNotAskedForAgain: a language model's answer costs money.
func TestAnAnswerWhoseProcessDiesIsAnErrorAndIsNotAskedForAgain(t *testing.T) {
	each(t, func(t *testing.T, e *engine) {
		asked := make(chan struct{}, 9)
		model := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked <- struct{}{}
			w.Header().Set("Content-Type", "application/x-ndjson")
			fmt.Fprint(w, "1\n2\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}))
		t.Cleanup(func() { model.CloseClientConnections(); model.Close() })
		f := startFleet(t, e, "end over\nbackend http "+model.URL+" {\nmethod POST\n}", "share answer")
		for i, p := range f.caddys {
			config, err := os.ReadFile(p.args[2])
			if err != nil {
				t.Fatal(err)
			}
			config = bytes.Replace(config, []byte("share answer {\n"), []byte("share answer {\nopen POST\nreplay all\nkeep 1m\n"), 1)
			if err := os.WriteFile(p.args[2], config, 0o600); err != nil {
				t.Fatal(err)
			}
			f.reload(i)
		}
		post := func(r *http.Request) { r.Method = http.MethodPost }
		asker := ssetest.Get(t, ssetest.Client(t, "h1"), "http://"+f.addresses[0]+"/", post)
		asker.WaitEvents(2)
		other := ssetest.Get(t, ssetest.Client(t, "h1"), "http://"+f.addresses[1]+"/")
		other.WaitEvents(2)
		f.caddys[0].kill()
		events := other.WaitEvents(3)
		if events[2].Type != "sse-error" || other.WaitEnd() == nil {
			t.Errorf("%v", other)
		}
		if late := ssetest.Get(t, ssetest.Client(t, "h1"), "http://"+f.addresses[2]+"/"); late.Status != http.StatusOK || late.WaitEnd() == nil || len(late.Events()) != 3 {
			t.Errorf("a client that comes later: %v", late)
		}
		if n := len(asked); n != 1 {
			t.Errorf("the model was asked %d times", n)
		}
		again := ssetest.Get(t, ssetest.Client(t, "h1"), "http://"+f.addresses[1]+"/", post)
		again.WaitEvents(2)
		if n := len(asked); n != 2 {
			t.Errorf("the model was asked %d times for another question", n-1)
		}
	})
}
