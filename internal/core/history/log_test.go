package history

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"weak"
)

// signal wakes a goroutine as a stream's does: a channel that holds one wake-up.
type signal chan struct{}

func (s signal) Wake() {
	select {
	case s <- struct{}{}:
	default:
	}
}

func event(n int) Entry {
	id := fmt.Appendf(nil, "%d", n)
	return Entry{Seq: uint64(n), ID: id, Bytes: fmt.Appendf(nil, "id: %d\ndata: x\n\n", n), Event: true}
}

func TestEverySubscriberGetsEveryEntryOnceInOrder(t *testing.T) {
	const subscribers, total = 200, 5000
	l := New(Limits{Count: total, Size: 1 << 30})
	var want bytes.Buffer
	var readers sync.WaitGroup
	results := make([][]byte, subscribers)
	for i := range subscribers {
		wake := make(signal, 1)
		s := l.Subscribe(0, wake)
		readers.Go(func() {
			defer s.Close()
			var entries []Entry
			for {
				var b Batch
				if i%2 == 0 {
					b = s.Next()
					results[i] = append(results[i], b.Bytes...)
				} else {
					entries, b.State, _ = s.NextEntries(entries[:0])
					for _, e := range entries {
						results[i] = append(results[i], e.Bytes...)
					}
				}
				switch b.State {
				case Parked:
					<-wake
				case Closed:
					return
				case Lagged:
					t.Error("lagged in a log that holds everything")
					return
				}
			}
		})
	}
	// Meanwhile others come, ask and go.
	stop := make(chan struct{})
	var passers sync.WaitGroup
	for range 4 {
		passers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				s := l.Subscribe(l.Tail(3), make(signal, 1))
				for s.Next().State == Ready {
				}
				s.Behind()
				l.AfterID("17")
				l.AfterSeq(17)
				l.Before(l.Oldest())
				l.Stats()
				s.Close()
			}
		})
	}
	for n := range total {
		e := event(n)
		want.Write(e.Bytes)
		l.Append(e)
		if n%7 != 0 {
			l.Publish()
		}
	}
	l.Close()
	readers.Wait()
	close(stop)
	passers.Wait()
	for i, got := range results {
		if !bytes.Equal(got, want.Bytes()) {
			t.Fatalf("subscriber %d: %d bytes, want %d, or in another order", i, len(got), want.Len())
		}
	}
	if n := l.Stats().Subscribers; n != 0 {
		t.Errorf("%d subscribers after the last has left", n)
	}
}

func TestWhatALaggingSubscriberMissesIsCounted(t *testing.T) {
	const total = 20000
	l := New(Limits{Count: 16, Size: 1 << 20})
	var readers sync.WaitGroup
	for range 20 {
		wake := make(signal, 1)
		s := l.Subscribe(0, wake)
		readers.Go(func() {
			defer s.Close()
			var entries []Entry
			next := uint64(0)
			for {
				var state State
				var missed uint64
				entries, state, missed = s.NextEntries(entries[:0])
				next += missed
				for _, e := range entries {
					if e.Seq != next {
						t.Errorf("got %d, want %d", e.Seq, next)
						return
					}
					next++
				}
				switch state {
				case Parked:
					<-wake
				case Closed:
					if next != total {
						t.Errorf("received and missed: %d, want %d", next, total)
					}
					return
				}
			}
		})
	}
	for n := range total {
		l.Append(event(n))
		l.Publish()
	}
	l.Close()
	readers.Wait()
}

func TestSubscriberThatLeavesIsNotWoken(t *testing.T) {
	l := New(Limits{Count: 8, Size: 1 << 20})
	stay, leave := &reader{}, &reader{}
	stay.Subscriber, leave.Subscriber = l.Subscribe(0, stay), l.Subscribe(0, leave)
	for _, r := range []*reader{leave, stay} {
		if b := r.Next(); b.State != Parked {
			t.Fatalf("state %d on an empty log", b.State)
		}
		r.Next() // a heartbeat's look must not park it twice
	}
	leave.Close()
	leave.Close()
	l.Append(event(1))
	l.Publish()
	l.Publish()
	if leave.woken != 0 || stay.woken != 1 {
		t.Errorf("woken: %d who left, %d who stayed; want 0 and 1", leave.woken, stay.woken)
	}
	// Any number may leave between two events, in any order.
	crowd := make([]*reader, 10)
	for i := range crowd {
		crowd[i] = &reader{}
		crowd[i].Subscriber = l.Subscribe(l.Tail(0), crowd[i])
		crowd[i].Next()
	}
	for _, i := range []int{0, 9, 8, 3, 4, 7} {
		crowd[i].Close()
	}
	l.Append(event(2))
	l.Publish()
	for i, r := range crowd {
		if want := map[int]int{1: 1, 2: 1, 5: 1, 6: 1}[i]; r.woken != want {
			t.Errorf("subscriber %d of the crowd woken %d times, want %d", i, r.woken, want)
		}
	}
	// A quiet source must not collect those who came and went.
	for range 1000 {
		s := l.Subscribe(l.Tail(0), leave)
		s.Next()
		s.Close()
	}
	if n := len(l.parking.list); n != 0 {
		t.Errorf("%d left in the parking", n)
	}
}

func TestStuckSubscriberPinsOneBlock(t *testing.T) {
	l := New(Limits{Count: 10, Size: 1 << 20})
	s := l.Subscribe(0, make(signal, 1))
	frame := bytes.Repeat([]byte("x"), 1000)
	var blocks []weak.Pointer[byte]
	var last *block
	var stuck Batch
	for n := range 1000 {
		l.Append(Entry{Seq: uint64(n), Bytes: frame, Event: true})
		l.Publish()
		if l.memory.block != last {
			last = l.memory.block
			blocks = append(blocks, weak.Make(&last.buf[0]))
		}
		if n == 2 {
			stuck = s.Next()
		}
	}
	last = nil
	runtime.GC()
	alive := 0
	for _, b := range blocks {
		if b.Value() != nil {
			alive++
		}
	}
	// The one it holds, and those of the last ten entries.
	if alive > 3 || blocks[0].Value() == nil || len(blocks) < 10 {
		t.Errorf("%d of %d blocks alive, the first: %v", alive, len(blocks), blocks[0].Value() != nil)
	}
	if len(stuck.Bytes) != 3000 {
		t.Errorf("batch of %d bytes", len(stuck.Bytes))
	}
	runtime.KeepAlive(s)
}

// burst publishes 300 events at once, and wants a subscriber at the live edge to get them all.
func burst(t *testing.T, limits Limits) *Log {
	t.Helper()
	l := New(limits)
	s := l.Subscribe(l.Tail(0), make(signal, 1))
	for n := 1; n <= 300; n++ {
		l.Append(event(n))
	}
	l.Publish()
	got := 0
	for b := s.Next(); b.State != Parked; b = s.Next() {
		if b.State == Lagged {
			t.Fatal("a subscriber at the live edge lagged by one burst")
		}
		got += b.Events
	}
	if got != 300 {
		t.Errorf("%d events, want 300", got)
	}
	return l
}

func TestSlackHoldsABurstForSubscribersOnly(t *testing.T) {
	l := burst(t, Limits{Count: 5, Size: 1 << 20, Slack: 1000})
	if st := l.Stats(); st.Events != 5 || st.OldestID != "296" {
		t.Errorf("history of %d events from %s, want 5 from 296", st.Events, st.OldestID)
	}
	if _, ok := l.AfterID("200"); ok {
		t.Error("an id beyond the history was found")
	}
	if c, ok := l.AfterSeq(295); !ok || c != l.Oldest() {
		t.Errorf("after the event before the history: %d %v", c, ok)
	}

	l = burst(t, Limits{Count: 100, Size: 50, Slack: 1000, SlackSize: 1 << 20})
	if _, ok := l.AfterSeq(200); ok {
		t.Error("a number beyond the size of the history was found")
	}
}

func TestAnUnusableIDEndsAtTheOldest(t *testing.T) {
	l := New(Limits{Count: 3, Size: 1 << 20})
	for n := range 10 {
		l.Append(event(n))
	}
	l.Publish()
	for _, id := range []string{"", "5", "10", "\x00\n\xff", strings.Repeat("9", 1<<20)} {
		if c, ok := l.AfterID(id); ok || c != l.Oldest() {
			t.Errorf("id of %d bytes: %d %v", len(id), c, ok)
		}
	}
	for id, want := range map[string]Cursor{"6": 7, "7": 8, "9": 10} {
		if c, ok := l.AfterID(id); !ok || c != want {
			t.Errorf("id %s: %d %v, want %d", id, c, ok, want)
		}
	}
}

func TestControlFramesDoNotPushEventsOut(t *testing.T) {
	l := New(Limits{Count: 3, Size: 4096})
	for n := range 3 {
		l.Append(event(n))
		for range 10 {
			l.Append(Entry{Seq: uint64(n), Bytes: []byte(":\n\n")})
		}
	}
	l.Publish()
	if st := l.Stats(); st.Events != 3 || st.Entries != 33 {
		t.Errorf("%d events, %d entries; want 3 and 33", st.Events, st.Entries)
	}
	for range 10000 { // but a flood of them is bounded
		l.Append(Entry{Bytes: []byte(":\n\n")})
	}
	l.Publish()
	if st := l.Stats(); st.Entries > 4096/controlCost || len(l.ring) > 256 {
		t.Errorf("%d entries in an index of %d", st.Entries, len(l.ring))
	}
}

func TestDeliveryAllocatesNothing(t *testing.T) {
	l := New(Limits{Count: 64, Size: 1 << 20})
	e := event(1)
	const subscribers = 50
	readers := make([]*reader, subscribers)
	for i := range readers {
		readers[i] = &reader{}
		readers[i].Subscriber = l.Subscribe(0, readers[i])
		readers[i].Next()
	}
	dst := make([]Entry, 0, 4)
	round := func() {
		l.Append(e)
		l.Publish()
		for i, r := range readers {
			var state State
			if i%2 == 0 {
				state = r.Next().State
			} else {
				_, state, _ = r.NextEntries(dst)
			}
			if state != Ready || r.Next().State != Parked {
				t.Fatalf("state %d", state)
			}
		}
	}
	for range 1000 {
		round()
	}
	// The remaining allocation is a block every few thousand appends, which AllocsPerRun rounds down to 0.
	if n := testing.AllocsPerRun(1000, round); n != 0 {
		t.Errorf("%v allocations per event", n)
	}
}
