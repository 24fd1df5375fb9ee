package fleet

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// short is a source whose upstream sends a few records and comes to its end.
type short struct {
	records []string

	mu     sync.Mutex
	got    []string
	epochs []string
	over   *string
	end    store.Pos
	led    int
}

func (s *short) lock() func() { s.mu.Lock(); return s.mu.Unlock }

func (s *short) Missed(uint64)        {}
func (s *short) Gap(string, uint64)   { defer s.lock()(); s.got = append(s.got, "gap") }
func (s *short) Position() Position   { return Position{} }
func (s *short) SetPosition(Position) {}
func (s *short) Synced()              {}
func (s *short) HandsOver() bool      { return true }

func (s *short) Over(text string, _ time.Time, pos store.Pos) {
	defer s.lock()()
	s.over, s.end = &text, pos
}
func (s *short) Reset()              { defer s.lock()(); s.got = append(s.got, "reset") }
func (s *short) Down() time.Duration { return 0 }
func (s *short) Wants() bool         { return true }
func (s *short) TooLarge() []byte    { return nil }

func (s *short) Opened(epoch string, _ uint64) { defer s.lock()(); s.epochs = append(s.epochs, epoch) }

func (s *short) Apply(_ uint64, entries func(func(Entry) bool)) {
	defer s.lock()()
	for e := range entries {
		s.got = append(s.got, string(e.Data))
	}
}

func (s *short) Lead(ctx context.Context, w *Writer, resumes bool) (over bool, text string) {
	func() { defer s.lock()(); s.led++ }()
	if resumes {
		_ = w.Add(Entry{Data: []byte("resumed")})
	}
	for _, r := range s.records {
		_ = w.Add(Entry{Data: []byte(r), Numbered: true})
	}
	return w.Flush(ctx) == nil, "broken off"
}

func TestASourceThatHasEndedIsOverForAllAndAnotherBeginsAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(rand.New(rand.NewPCG(1, 1)))
		e.calm = true
		settings := store.Settings{Count: 100, Size: 1 << 20, Age: time.Hour, Lease: 2500 * time.Millisecond}
		fleets := []*Fleet{New(e.connect(), settings, nobody{}), New(e.connect(), settings, nobody{})}
		var after store.Pos
		var epoch string
		for _, records := range [][]string{{"1", "2"}, {"3"}} {
			var sources []*short
			var members []*Member
			for _, f := range fleets {
				src := &short{records: records}
				sources, members = append(sources, src), append(members, f.Join("log", src, false, after))
			}
			time.Sleep(5 * time.Second)
			for _, m := range members {
				after = max(after, m.position())
				m.Leave()
			}
			led := 0
			for i, src := range sources {
				if src.over == nil || *src.over != "broken off" || !slices.Equal(src.got, records) || len(src.epochs) != 1 || src.epochs[0] == epoch {
					t.Errorf("process %d got %q in the epochs %q after %q, over: %v", i, src.got, src.epochs, epoch, src.over)
				}
				led += src.led
			}
			if led != 1 {
				t.Errorf("the upstream was opened %d times", led)
			}
			epoch = sources[0].epochs[0]
		}
		for _, f := range fleets {
			f.Close()
		}
	})
}
