package sse

import (
	"runtime"
	"sync"
	"time"
)

// pump delivers what a source has to the streams that wait for it, on as many goroutines as there are processors. To
// wake each stream's own goroutine for each event would cost as much as a quarter of the write itself, and keep its
// stack grown for writing.
//
// A write that does not come to its end holds up one of those goroutines, and is made up for by another: no client
// delays the others for longer than stuckAfter, and not twice, as its stream then delivers by itself until it is
// quick again.
//
// A round is a delivery to all streams that wait. After each the pump rests for as long as the round took, so that
// delivering to however many streams takes no more than half of the time: what comes meanwhile leaves together.
type pump struct {
	mu      sync.Mutex
	queue   []*delivery
	head    int // of the queue
	taken   uint64
	workers int
	stuck   int // workers that are made up for

	resting  bool
	began    time.Time // the round
	restOver time.Time

	rest, watch *time.Timer
	watching    bool
	lastTaken   uint64
}

const (
	// stuckAfter is how long nothing may leave the queue before another goroutine helps.
	stuckAfter = 5 * time.Millisecond

	// minRound is the length of a round that needs no rest: fewer than some hundred streams.
	minRound = 2 * time.Millisecond
)

// push has d deliver soon.
func (p *pump) push(d *delivery) {
	p.mu.Lock()
	p.queue = append(p.queue, d)
	p.begin()
	p.mu.Unlock()
}

// begin gives the queue another worker, if there may be one.
func (p *pump) begin() {
	if p.resting || p.workers-p.stuck >= runtime.GOMAXPROCS(0) {
		return
	}
	if p.workers == p.stuck {
		now := time.Now()
		if rest := p.restOver.Sub(now); rest > 0 {
			p.resting = true
			if p.rest == nil {
				p.rest = time.AfterFunc(rest, p.rested)
			} else {
				p.rest.Reset(rest)
			}
			return
		}
		p.began = now
	}
	p.workers++
	go p.work()
	if !p.watching {
		p.watching, p.lastTaken = true, p.taken
		if p.watch == nil {
			p.watch = time.AfterFunc(stuckAfter, p.look)
		} else {
			p.watch.Reset(stuckAfter)
		}
	}
}

// rested begins a round after a rest.
func (p *pump) rested() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resting, p.restOver = false, time.Time{}
	for range min(len(p.queue)-p.head, runtime.GOMAXPROCS(0)) {
		p.begin()
	}
}

// work delivers until nothing is left to be delivered.
func (p *pump) work() {
	for {
		d := p.take()
		if d == nil {
			return
		}
		began := time.Now()
		d.deliver()
		if took := time.Since(began); took >= stuckAfter && p.wasStuck() {
			return
		}
	}
}

func (p *pump) take() *delivery {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.head == len(p.queue) {
		p.queue, p.head = p.queue[:0], 0
		if p.workers--; p.workers == p.stuck {
			if now := time.Now(); now.Sub(p.began) > minRound {
				p.restOver = now.Add(now.Sub(p.began))
			}
		}
		return nil
	}
	d := p.queue[p.head]
	p.queue[p.head] = nil
	p.head++
	p.taken++
	return d
}

// wasStuck ends a worker that has been made up for.
func (p *pump) wasStuck() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stuck == 0 {
		return false
	}
	p.stuck--
	p.workers--
	return true
}

// look makes up for a worker that is stuck, as long as there is something to be delivered.
func (p *pump) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.head == len(p.queue) || p.resting {
		p.watching = false
		return
	}
	if p.taken == p.lastTaken && p.workers > p.stuck {
		p.stuck++
		p.begin()
	}
	p.lastTaken = p.taken
	p.watch.Reset(stuckAfter)
}
