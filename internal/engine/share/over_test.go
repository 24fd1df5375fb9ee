package share

import (
	"testing"
	"time"
)

func TestASourceIsKeptForKeepWhateverTheClockOfTheProcessThatHadItsUpstream(t *testing.T) {
	for name, tc := range map[string]struct {
		synced bool          // before the end came
		ago    time.Duration // the end, by this process's clock
		want   bool
	}{
		"the clocks agree":                     {true, 0, true},
		"the other clock is behind":            {true, time.Hour, true},
		"it was over when the process came":    {false, 5 * time.Second, true},
		"it was over long before":              {false, time.Hour, false},
		"over before, the other clock is late": {false, -time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource(testServer(t), t.Name(), new(connections))
			s.membership = membership{ready: make(chan struct{}), begun: make(chan struct{})}
			close(s.done) // it does not run
			if tc.synced {
				replica{s}.Synced()
			}
			replica{s}.Over("", time.Now().Add(-tc.ago), 1)
			if isKept, _, _ := sources.endingOf(s); isKept != tc.want {
				t.Errorf("kept: %v", isKept)
			}
			sources.close(s, func() bool { return true })
		})
	}
}
