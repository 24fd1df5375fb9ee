package share

import (
	"runtime"
	"sync"
	"time"
)

// pump delivers what a source has to the streams that wait for it, on as many goroutines as there are processors. To
// wake each stream's own goroutine for each event would cost as much as a quarter of the write itself, and keep its
// stack grown for writing.
//
// It works in rounds, in each of which a stream is delivered to once. After a long one it rests for half as long as
// that took, so that delivering, to however many streams, leaves time for everything else, and what comes meanwhile
// leaves together.
//
// A write that does not come to its end holds up one of those goroutines. Once all of them are stuck, the pump hands
// all that waits to the streams' own goroutines and goes on with others. So however many clients stop reading at the
// same moment, they delay the others once, for twice stuckAfter at most. A stream that was slow delivers by itself
// until it is quick again.
type pump struct {
	mu      sync.Mutex
	waiting []*delivery // for the next round
	round   []*delivery
	at      int    // in the round
	steps   uint64 // rounds begun and deliveries taken, in all
	shift   uint64 // number of the goroutines at work; those of a former shift are stuck, and leave once they are not
	working int    // goroutines of this shift
	began   time.Time

	pumpRest
	pumpWatch
}

// pumpRest is the time between two rounds in which nothing is delivered.
type pumpRest struct {
	resting bool
	restEnd time.Time
	rest    *time.Timer
}

// pumpWatch looks whether a round goes on.
type pumpWatch struct {
	watching  bool
	lastSteps uint64
	watch     *time.Timer
}

const (
	// stuckAfter is how long nothing may be taken in a round before all that waits is given away.
	stuckAfter = 5 * time.Millisecond

	// A round that is shorter than minRound, as those of fewer than some hundred streams are, needs no rest, and
	// none rests for longer than maxRest.
	minRound = 2 * time.Millisecond
	maxRest  = 50 * time.Millisecond
)

// push has d deliver in the next round.
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

// work delivers until the round is over.
func (p *pump) work(shift uint64) {
	for d := p.take(shift); d != nil; d = p.take(shift) {
		d.deliver()
	}
}

// take takes the next delivery of the round. The last goroutine that finds none ends the round.
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

// end ends a round, and begins the next if there is something to deliver.
func (p *pump) end(now time.Time) {
	if took := now.Sub(p.began); took > minRound {
		p.restEnd = now.Add(min(took/2, maxRest))
	}
	if len(p.waiting) > 0 {
		p.begin(now)
	}
}

// look gives away what waits while nothing has been taken since the last look.
func (p *pump) look() {
	for _, d := range p.giveAway() {
		d.notify()
	}
}

// giveAway returns the deliveries that wait, if the pump is stuck.
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

// after runs f after d, by the timer that did so before, if there is one.
func after(timer *time.Timer, d time.Duration, f func()) *time.Timer {
	if timer == nil {
		return time.AfterFunc(d, f)
	}
	timer.Reset(d)
	return timer
}
