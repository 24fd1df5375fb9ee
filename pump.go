package sse

import (
	"runtime"
	"slices"
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
// A write that does not come to its end holds up one of those goroutines, and is made up for by another: no client
// delays the others for longer than stuckAfter, and not twice, as its stream then delivers by itself until it is
// quick again.
type pump struct {
	mu      sync.Mutex
	waiting []*delivery // for the next round
	round   []*delivery
	at      int    // in the round
	taken   uint64 // in all
	workers []*worker
	stuck   int // of them that are made up for
	began   time.Time

	resting bool
	restEnd time.Time
	rest    *time.Timer

	watching  bool
	lastTaken uint64
	watch     *time.Timer
}

// worker is one of the goroutines.
type worker struct {
	madeUpFor bool // it was stuck, and another has taken its place
}

const (
	// stuckAfter is how long nothing may be taken in a round before another goroutine helps.
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
	if len(p.workers) == p.stuck && !p.resting {
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
	for range min(len(p.round), runtime.GOMAXPROCS(0)) {
		p.start()
	}
	if !p.watching {
		p.watching, p.lastTaken = true, p.taken
		p.watch = after(p.watch, stuckAfter, p.look)
	}
}

func (p *pump) start() {
	w := new(worker)
	p.workers = append(p.workers, w)
	go p.work(w)
}

func (p *pump) rested() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resting, p.restEnd = false, time.Time{}
	if len(p.workers) == p.stuck {
		p.begin(time.Now())
	}
}

// work delivers until the round is over.
func (p *pump) work(w *worker) {
	for d := p.take(w); d != nil; d = p.take(w) {
		d.deliver()
	}
}

// take takes the next delivery of the round for w. The last worker that finds none ends the round.
func (p *pump) take(w *worker) *delivery {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.madeUpFor {
		p.leave(w)
		p.stuck--
		return nil
	}
	if p.at < len(p.round) {
		d := p.round[p.at]
		p.round[p.at] = nil
		p.at++
		p.taken++
		return d
	}
	p.leave(w)
	if len(p.workers) > p.stuck || p.resting {
		return nil
	}
	now := time.Now()
	if took := now.Sub(p.began); took > minRound {
		p.restEnd = now.Add(min(took/2, maxRest))
	}
	if len(p.waiting) > 0 {
		p.begin(now)
	}
	return nil
}

func (p *pump) leave(w *worker) {
	i := slices.Index(p.workers, w)
	p.workers = slices.Delete(p.workers, i, i+1)
}

// look makes up for a worker that is stuck, as long as a round is not over.
func (p *pump) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watching = len(p.workers) > p.stuck
	if !p.watching {
		return
	}
	if p.taken == p.lastTaken {
		for _, w := range p.workers {
			if !w.madeUpFor {
				w.madeUpFor = true
				p.stuck++
				p.start() // which ends the round, if there is nothing left to be taken
				break
			}
		}
	}
	p.lastTaken = p.taken
	p.watch.Reset(stuckAfter)
}

// after runs f after d, by the timer that did so before, if there is one.
func after(timer *time.Timer, d time.Duration, f func()) *time.Timer {
	if timer == nil {
		return time.AfterFunc(d, f)
	}
	timer.Reset(d)
	return timer
}
