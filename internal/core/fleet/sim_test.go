package fleet

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

var (
	seeds     = flag.Int("fleet.seeds", 25, "how many random histories of a fleet are played")
	firstSeed = flag.Uint64("fleet.first", 1, "the first of them")
)

// TestAFleetHasOneHistoryWhateverHappens plays random histories of four processes at a hostile store.
func TestAFleetHasOneHistoryWhateverHappens(t *testing.T) {
	for i := range *seeds {
		seed := *firstSeed + uint64(i)
		synctest.Test(t, func(t *testing.T) { play(t, seed) })
	}
}

// world is what all processes of a history have in common.
type world struct {
	t       *testing.T
	engine  *engine
	rng     *rand.Rand
	resumes bool // the upstream continues after an id
	many    bool // each process has an upstream
	began   time.Time
	trace   []string

	mu      sync.Mutex
	content map[string]string // of each id
}

func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.t.Failed() {
		for _, line := range w.trace[max(0, len(w.trace)-200):] {
			w.t.Log(line)
		}
	}
	w.t.Errorf(format, args...)
}

// note adds a line to what is printed before the first failure.
func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trace = append(w.trace, fmt.Sprintf("%8.3f ", time.Since(w.began).Seconds())+fmt.Sprintf(format, args...))
}

// process is a process with one source. Its fields but the first are those of its client.
type process struct {
	*world
	name   string
	conn   *conn
	fleet  *Fleet
	member *Member

	mu       sync.Mutex
	epoch    string
	last     uint64
	position Position
	values   map[string]int    // the newest value of each sender
	gaps     map[string]string // the reason of a gap since the newest record of each sender
	ended    bool
	wants    bool
}

func (w *world) start(name string) *process {
	p := &process{world: w, name: name, conn: w.engine.connect(), values: make(map[string]int), gaps: make(map[string]string), wants: true}
	settings := store.Settings{Count: 100, Size: 1 << 20, Age: time.Hour, Lease: 2500 * time.Millisecond}
	p.fleet = New(p.conn, settings, nobody{})
	p.member = p.fleet.Join("log", p, w.many, 0)
	return p
}

// kill ends a process without anybody being told.
func (p *process) kill() {
	p.conn.set(func(c *conn) { c.dead = true })
	p.stop()
}

func (p *process) stop() {
	p.member.Leave()
	p.fleet.Close()
	p.conn.set(func(c *conn) { c.dead = true })
}

func (p *process) Missed(last uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note("%s missed %d", p.name, last)
	p.last = last
	p.noteGap(GapHistory)
}

// noteGap notes that each sender's records may be missing. A gap because of the store says most.
func (p *process) noteGap(reason string) {
	for sender := range p.values {
		if p.gaps[sender] != GapStore {
			p.gaps[sender] = reason
		}
	}
}

func (p *process) Opened(epoch string, last uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note("%s opened %s after %d", p.name, epoch, last)
	if last != p.last {
		p.fail("%s: epoch %s opens after %d, not %d", p.name, epoch, last, p.last)
	}
	p.epoch = epoch
}

func (p *process) Gap(reason string, last uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note("%s gap %s %d", p.name, reason, last)
	if last < p.last {
		p.fail("%s: gap up to %d after %d", p.name, last, p.last)
	}
	p.last = last
	p.noteGap(reason)
}

func (p *process) Apply(first uint64, entries func(func(Entry) bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note("%s applies from %d", p.name, first)
	if first != p.last+1 {
		p.fail("%s: record %d after %d", p.name, first, p.last)
	}
	for e := range entries {
		if !e.Numbered {
			p.note("%s gap from the upstream after %d", p.name, p.last)
			p.noteGap("upstream")
			continue
		}
		p.last++
		p.record(fmt.Sprintf("%s-%d", p.epoch, p.last), string(e.Data))
	}
}

// record checks a record: the same id has the same content everywhere, and what is missing before it was told.
func (p *process) record(id, data string) {
	p.world.mu.Lock()
	known, ok := p.content[id]
	p.content[id] = data
	p.world.mu.Unlock()
	if ok && known != data {
		p.fail("%s: id %s has the contents %s and %s", p.name, id, known, data)
	}
	if data == "too large" {
		p.noteGap(data)
		return
	}
	sender, number, _ := bytes.Cut([]byte(data), []byte(" "))
	value, err := strconv.Atoi(string(bytes.TrimRight(number, ".")))
	before, any := p.values[string(sender)]
	gap := p.gaps[string(sender)]
	switch {
	case err != nil:
		p.fail("%s: record %q", p.name, data)
	case !any, gap == GapStore:
	case value <= before:
		p.fail("%s: %s after %d, at %s", p.name, data, before, id)
	case value > before+1 && gap == "":
		p.fail("%s: %s after %d without a gap, at %s", p.name, data, before, id)
	}
	p.values[string(sender)] = value
	p.gaps[string(sender)] = ""
	if p.resumes {
		p.position = Position{LastID: number, Own: true}
	}
}

func (p *process) Position() Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.position
}

func (p *process) SetPosition(to Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note("%s position %s", p.name, to.LastID)
	p.position = Position{LastID: bytes.Clone(to.LastID), Own: to.Own}
}

func (p *process) HandsOver() bool { return true }
func (p *process) Synced()         {}

func (p *process) Over(string, time.Time, store.Pos) { p.fail("%s: over", p.name) }

func (p *process) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note("%s reset", p.name)
	p.ended = true
}

func (p *process) hasEnded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

func (p *process) Down() time.Duration { return 0 }
func (p *process) TooLarge() []byte    { return []byte("too large") }

func (p *process) Wants() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wants
}

// Lead is an upstream that sends a number each 10 ms, breaks now and then, and is opened again.
func (p *process) Lead(ctx context.Context, w *Writer, resumes bool) (over bool, text string) {
	for first := true; ctx.Err() == nil; first = false {
		if w.Settle(ctx) != nil {
			return false, ""
		}
		p.note("%s leads, resumes %v, at %s", p.name, resumes, p.Position().LastID)
		sent, err := p.tick(), error(nil)
		if p.resumes {
			sent, _ = strconv.Atoi(string(bytes.TrimRight(p.Position().LastID, ".")))
		} else if resumes || !first {
			err = w.Add(Entry{Data: []byte("gap")})
		}
		for err == nil && ctx.Err() == nil && !p.engine.chance(1) {
			pause(ctx, p.engine.delay(80*time.Millisecond))
			for range min(p.tick()-sent, 100) {
				sent++
				data := fmt.Appendf(nil, "%s %d", p.sender(), sent)
				if p.engine.chance(1) {
					data = append(data, bytes.Repeat([]byte("."), 5000)...)
				}
				err = errors.Join(err, w.Add(Entry{Data: data, Numbered: true}))
			}
			err = errors.Join(err, w.Flush(ctx))
		}
		pause(ctx, p.engine.delay(300*time.Millisecond))
	}
	return false, ""
}

func (w *world) tick() int { return int(time.Since(w.began) / (10 * time.Millisecond)) }

func (p *process) sender() string {
	if p.many {
		return p.name
	}
	return "upstream"
}

type nobody struct{}

func (nobody) Appended(time.Duration, error) {}
func (nobody) TookOver(string)               {}
func (nobody) Leads(int)                     {}
func (nobody) Fenced(uint64)                 {}
func (nobody) Failed(string, error)          {}

func play(t *testing.T, seed uint64) {
	defer func() {
		if t.Failed() {
			t.Logf("seed %d: play it again with -fleet.first %d -fleet.seeds 1", seed, seed)
		}
	}()
	rng := rand.New(rand.NewPCG(seed, 0))
	w := &world{t: t, rng: rng, engine: newEngine(rand.New(rand.NewPCG(seed, 1))), content: make(map[string]string), began: time.Now()}
	w.resumes, w.many = seed%2 == 0, seed%5 == 0
	if w.many {
		w.resumes = false
	}
	rewinds := seed%3 == 0
	serial, all := 0, []*process(nil)
	begin := func() {
		serial++
		all = append(all, w.start("p"+strconv.Itoa(serial)))
	}
	for range 4 {
		begin()
	}
	for range 25 {
		time.Sleep(time.Duration(rng.Int64N(int64(3 * time.Second))))
		i := rng.IntN(len(all))
		p, what := all[i], rng.IntN(9)
		w.note("event %d at %s", what, p.name)
		switch what {
		case 0: // killed, and started anew
			p.kill()
			all = append(all[:i], all[i+1:]...)
			begin()
		case 1: // a rolling deploy
			p.fleet.Yield()
			time.Sleep(500 * time.Millisecond)
			p.stop()
			all = append(all[:i], all[i+1:]...)
			begin()
		case 2: // cut off from the engine
			p.conn.set(func(c *conn) { c.cut = true })
			time.AfterFunc(time.Duration(rng.Int64N(int64(8*time.Second))), func() { p.conn.set(func(c *conn) { c.cut = false }) })
		case 3: // as if it were stopped: it neither hears nor is heard
			p.conn.set(func(c *conn) { c.cut, c.deaf = true, true })
			time.AfterFunc(5*time.Second, func() { p.conn.set(func(c *conn) { c.cut, c.deaf = false, false }) })
		case 4: // the others do not hear of it
			p.conn.set(func(c *conn) { c.deaf = true })
			time.AfterFunc(time.Duration(rng.Int64N(int64(8*time.Second))), func() { p.conn.set(func(c *conn) { c.deaf = false }) })
		case 5: // the engine is away
			w.engine.mu.Lock()
			w.engine.down = true
			w.engine.mu.Unlock()
			time.Sleep(time.Duration(rng.Int64N(int64(4 * time.Second))))
			if rewinds && rng.IntN(2) == 0 {
				n := rng.IntN(8)
				w.note("rewind %d", n)
				w.engine.rewind(n)
			}
			w.engine.mu.Lock()
			w.engine.down = false
			w.engine.mu.Unlock()
		case 6: // its clients leave, and come back
			p.mu.Lock()
			p.wants = !p.wants
			p.mu.Unlock()
		case 7: // all are killed at once
			if rng.IntN(4) == 0 {
				for _, p := range all {
					p.kill()
				}
				all = nil
				begin()
				begin()
			}
		}
	}
	// When all is well again, all have the same records, and more come.
	w.engine.mu.Lock()
	w.engine.calm = true
	w.engine.mu.Unlock()
	for i, p := range all {
		if p.hasEnded() { // its clients come back, to a source that knows what the store has
			p.stop()
			serial++
			all[i] = w.start("p" + strconv.Itoa(serial))
		}
	}
	for _, p := range all {
		p.conn.set(func(c *conn) { c.cut, c.deaf = false, false })
		p.mu.Lock()
		p.wants = true
		p.mu.Unlock()
	}
	time.Sleep(20 * time.Second)
	before := make(map[*process]uint64)
	for _, p := range all {
		before[p] = p.member.Status().Last
	}
	time.Sleep(5 * time.Second)
	leaders := 0
	for _, p := range all {
		status := p.member.Status()
		if status.Leads {
			leaders++
		}
		if status.Last <= before[p] && !p.hasEnded() {
			t.Errorf("%s has no new records after %d", p.name, before[p])
		}
	}
	if leaders != 1 && !w.many {
		t.Errorf("%d processes lead", leaders)
	}
	for _, p := range all {
		p.stop()
	}
}
