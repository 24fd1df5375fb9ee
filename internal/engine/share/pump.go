package share

import (
	"runtime"
	"sync"
	"time"
)

// pump delivers a source's events to the streams that wait for them, with as many goroutines as there are processors. To wake the goroutine
// of each stream for each event would cost a quarter of the write itself, and each of them would need a larger stack.
//
// The pump works in rounds. In each round, it delivers to a stream once. After a long round, it rests for half of that round's time. So
// there is time for everything else even with very many streams, and events that come meanwhile are sent together.
//
// A write that blocks holds up one of the goroutines. When all of them are stuck, the pump gives all waiting deliveries to the streams'
// own goroutines, and continues with new goroutines. So clients that stop reading at the same moment delay the others only once, by
// twice stuckAfter at most, however many they are. A slow stream delivers on its own goroutine until it is quick again.
type pump struct {
	mu      sync.Mutex
	waiting []*delivery // for the next round
	round   []*delivery
	at      int    // the index of the next delivery in the round
	steps   uint64 // the total number of rounds begun and deliveries taken
	shift   uint64 // the number of the present shift; goroutines of earlier shifts are stuck, and end when they can
	working int    // the number of goroutines in this shift
	began   time.Time

	pumpRest
	pumpWatch
}

// pumpRest is the rest between two rounds.
type pumpRest struct {
	resting bool
	restEnd time.Time
	rest    *time.Timer
}

// pumpWatch checks whether a round makes progress.
type pumpWatch struct {
	watching  bool
	lastSteps uint64
	watch     *time.Timer
}

const (
	// stuckAfter is how long a round may make no progress before its waiting deliveries are given away.
	stuckAfter = 5 * time.Millisecond

	// A round shorter than minRound, such as one for a hundred streams, needs no rest. maxRest is the longest rest.
	minRound = 2 * time.Millisecond
	maxRest  = 50 * time.Millisecond
)

// push adds d to the next round.
func (p *pump) push(d *delivery) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, d)
	if p.working == 0 && !p.resting {
		p.begin(time.Now())
	}
}

// begin begins a round, or the rest before it.
func (p *pump) begin(now time.Time) {
	if rest := p.restEnd.Sub(now); rest > 0 {
		p.resting = true
		p.rest = after(p.rest, rest, p.rested)
		return
	}
	p.waiting, p.round = p.round[:0], p.waiting
	p.at, p.began = 0, now
	p.steps++
	p.working = min(len(p.round), runtime.GOMAXPROCS(0))
	for range p.working {
		go p.work(p.shift)
	}
	if !p.watching {
		p.watching, p.lastSteps = true, p.steps
		p.watch = after(p.watch, stuckAfter, p.look)
	}
}

func (p *pump) rested() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resting, p.restEnd = false, time.Time{}
	p.begin(time.Now())
}

// work delivers until the end of the round.
func (p *pump) work(shift uint64) {
	for d := p.take(shift); d != nil; d = p.take(shift) {
		d.deliver()
	}
}

// take returns the next delivery in the round, or nil. The last goroutine that gets nil ends the round.
func (p *pump) take(shift uint64) *delivery {
	p.mu.Lock()
	defer p.mu.Unlock()
	if shift != p.shift {
		return nil
	}
	if p.at < len(p.round) {
		d := p.round[p.at]
		p.round[p.at] = nil
		p.at++
		p.steps++
		return d
	}
	if p.working--; p.working == 0 {
		p.end(time.Now())
	}
	return nil
}

// end ends a round, and begins the next one if deliveries are waiting.
func (p *pump) end(now time.Time) {
	if took := now.Sub(p.began); took > minRound {
		p.restEnd = now.Add(min(took/2, maxRest))
	}
	if len(p.waiting) > 0 {
		p.begin(now)
	}
}

// look gives the waiting deliveries away if there was no progress since the last look.
func (p *pump) look() {
	for _, d := range p.giveAway() {
		d.notify()
	}
}

// giveAway returns the waiting deliveries if the pump is stuck.
func (p *pump) giveAway() (left []*delivery) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watching = p.working > 0; !p.watching {
		return nil
	}
	if p.steps == p.lastSteps {
		left = append(p.round[p.at:], p.waiting...)
		p.round, p.waiting = nil, nil
		p.at, p.working = 0, 0
		p.shift++
	}
	p.lastSteps = p.steps
	p.watch.Reset(stuckAfter)
	return left
}

// after runs f after d. It reuses the timer, if there is one.
func after(timer *time.Timer, d time.Duration, f func()) *time.Timer {
	if timer == nil {
		return time.AfterFunc(d, f)
	}
	timer.Reset(d)
	return timer
}
