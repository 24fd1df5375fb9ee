package ratelog

import (
	"testing"
	"time"
)

func TestALogLimitLetsPassWhatItsRateAllows(t *testing.T) {
	l := New(2, time.Second)
	start := time.Now()
	for i, step := range []struct {
		after   time.Duration
		ok      bool
		dropped int
	}{
		{0, true, 0}, {1, true, 0}, {2, false, 0}, {3, false, 0},
		{1100 * time.Millisecond, true, 2}, {1100 * time.Millisecond, true, 0}, {1100 * time.Millisecond, false, 0},
		{3 * time.Second, true, 1},
	} {
		if ok, dropped := l.allow(start.Add(step.after)); ok != step.ok || dropped != step.dropped {
			t.Errorf("line %d: %v, %d, want %v, %d", i, ok, dropped, step.ok, step.dropped)
		}
	}
}
