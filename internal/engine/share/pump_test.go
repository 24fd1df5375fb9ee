package share

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// idleDelivery has nothing to send; it blocks for as long as its lock is held. It runs until the test ends.
func idleDelivery(t *testing.T, src *source) *delivery {
	d := &delivery{view: &view{source: src}, calls: calls{signal: make(chan struct{}, 1)}, started: true, over: true}
	running := make(chan struct{})
	go func() {
		defer close(running)
		d.run(context.Background())
	}()
	t.Cleanup(func() {
		d.stop()
		<-running
	})
	return d
}

func (p *pump) atRest() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.working == 0 && len(p.waiting) == 0
}

func TestDeliveriesThatAreStuckHoldUpNoOthers(t *testing.T) {
	ssetest.NoLeaks(t)
	src := new(source)
	var stuck, quick []*delivery
	for range 5 {
		d := idleDelivery(t, src)
		d.mu.Lock()
		stuck = append(stuck, d)
		d.Wake()
	}
	for range 100 {
		d := idleDelivery(t, src)
		quick = append(quick, d)
		d.Wake()
	}
	for i, d := range quick {
		ssetest.Wait(t, "delivery "+string(rune('0'+i%10)), func() bool { return !d.queued.Load() })
	}
	for _, d := range stuck {
		if !d.queued.Load() {
			t.Error("a delivery that is stuck is taken for done")
		}
		d.mu.Unlock()
	}
	for _, d := range stuck {
		ssetest.Wait(t, "a delivery that was stuck", func() bool { return !d.queued.Load() })
	}
	ssetest.Wait(t, "the pump to come to rest", src.pump.atRest)
}

func TestEveryWakeIsFollowedByADelivery(t *testing.T) {
	ssetest.NoLeaks(t)
	src := new(source)
	deliveries := make([]*delivery, 300)
	for i := range deliveries {
		deliveries[i] = idleDelivery(t, src)
	}
	var wakers sync.WaitGroup
	for range 4 {
		wakers.Go(func() {
			for range 20_000 {
				d := deliveries[rand.IntN(len(deliveries))]
				if rand.IntN(2000) == 0 { // now and then one that blocks for a while
					d.mu.Lock()
					time.AfterFunc(2*stuckAfter, d.mu.Unlock)
				}
				d.Wake()
			}
		})
	}
	wakers.Wait()
	ssetest.Wait(t, "the pump to come to rest", src.pump.atRest)
	for i, d := range deliveries {
		ssetest.Wait(t, fmt.Sprintf("delivery %d", i), func() bool { return !d.queued.Load() })
	}
}
