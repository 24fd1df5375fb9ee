package share

import (
	"math/rand/v2"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/fleet"
)

func TestEntriesThatNoProcessHasMadeDoNoHarm(t *testing.T) {
	s := newSource(testServer(t), t.Name(), new(connections))
	s.epochs.only = ""
	s.membership = membership{ready: make(chan struct{}), begun: make(chan struct{})}
	r := replica{s}
	r.Opened("e", 0)
	random := rand.New(rand.NewPCG(1, 2))
	for n := uint64(1); n < 20_000; {
		e := fleet.Entry{Data: make([]byte, random.IntN(20)), Numbered: random.IntN(2) == 0}
		for i := range e.Data {
			e.Data[i] = byte(random.Uint32())
		}
		r.Apply(n, func(yield func(fleet.Entry) bool) { yield(e) })
		if e.Numbered {
			n++
		}
		if s.seq != n-1 {
			t.Fatalf("after %q, the number is %d, not %d", e.Data, s.seq, n-1)
		}
	}
	s.halt(nil)
}
