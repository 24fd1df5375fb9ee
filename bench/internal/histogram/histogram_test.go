package histogram

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestQuantilesStayWithinOneBucketOfTheTruth(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	var all []time.Duration
	for range 100_000 {
		d := time.Duration(rnd.ExpFloat64() * float64(3*time.Millisecond))
		all = append(all, d)
		h.Add(d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[max(int(q*float64(len(all))+0.5), 1)-1]
		got := h.Quantile(q)
		if got < want || float64(got) > float64(want)*(1+1.0/sub)+1 {
			t.Errorf("quantile %v = %v, want %v up to 1/64 more", q, got, want)
		}
	}
	if h.Max() != all[len(all)-1] {
		t.Errorf("max = %v, want %v", h.Max(), all[len(all)-1])
	}
}

func TestEveryDurationFallsIntoABucketThatHoldsIt(t *testing.T) {
	for shift := range 63 {
		for _, v := range []uint64{1 << shift, 1<<shift + 1, 1<<shift - 1} {
			i := index(v)
			if uint64(upper(i)) < v {
				t.Errorf("%d is in bucket %d, which ends at %d", v, i, upper(i))
			}
			if i > 0 && uint64(upper(i-1)) >= v {
				t.Errorf("%d is in bucket %d, but fits the one before", v, i)
			}
		}
	}
}

func TestEmptyHistogramHasNoQuantile(t *testing.T) {
	if got := new(Histogram).Quantile(0.99); got != 0 {
		t.Errorf("got %v", got)
	}
}
