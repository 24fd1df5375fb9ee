package history

import "testing"

func TestWhatTheLogNeverGotIsLostToWhoResumesBeforeIt(t *testing.T) {
	l := New(Limits{Count: 10, Size: 1000})
	l.Missed(5)
	l.Append(Entry{Seq: 6, Bytes: []byte("6"), Event: true})
	l.Publish()
	for seq, want := range map[uint64]bool{0: false, 4: false, 5: true, 6: true, 7: false} {
		if c, ok := l.AfterSeq(seq); ok != want || !ok && c != l.Oldest() {
			t.Errorf("after %d: place %d, %v; want %v", seq, c, ok, want)
		}
	}
}

type countWaker int

func (w *countWaker) Wake() { *w++ }

func TestWakeWakesOnceWhoIsParkedThoughThereIsNothing(t *testing.T) {
	l := New(Limits{Count: 10, Size: 1000})
	var woken countWaker
	s := l.Subscribe(0, &woken)
	defer s.Close()
	l.Wake() // it is not parked yet
	if s.Next().State != Parked {
		t.Fatal("not parked")
	}
	l.Wake()
	l.Wake()
	if woken != 1 {
		t.Errorf("woken %d times, want once", woken)
	}
	if state := s.Next().State; state != Parked {
		t.Errorf("state %d after it was woken, want Parked", state)
	}
}

func TestAnIDIsKnownAsLongAsTheLogGoesBack(t *testing.T) {
	l := New(Limits{Count: 2, Size: 1 << 20})
	for n := range 5 {
		l.Append(event(n))
	}
	l.Publish()
	for id, want := range map[string]bool{"4": true, "3": true, "2": true, "1": false, "5": false} { // 2 is the last that left
		if got := l.HasID(id); got != want {
			t.Errorf("HasID(%s) is %t", id, got)
		}
	}
}

func TestASubscriberThatIsToFinishReadsWhatIsPublishedAndNoMore(t *testing.T) {
	l := New(Limits{Count: 9, Size: 1 << 10})
	add := func(text string) {
		l.Append(Entry{Seq: uint64(len(text)), Bytes: []byte(text), Event: true})
		l.Publish()
	}
	add("1")
	whole, single, other := l.Subscribe(0, new(countWaker)), l.Subscribe(0, new(countWaker)), l.Subscribe(0, new(countWaker))
	for _, s := range []*Subscriber{whole, single} {
		defer s.Close()
		s.Finish()
	}
	defer other.Close()
	add("22")
	if b := whole.Next(); string(b.Bytes) != "1" || b.State != Ready {
		t.Errorf("got %q, %v", b.Bytes, b.State)
	}
	if entries, state, _ := single.NextEntries(nil); len(entries) != 1 || state != Ready {
		t.Errorf("got %d entries, %v", len(entries), state)
	}
	for range 2 {
		if b := whole.Next(); b.State != Closed {
			t.Errorf("got %q, %v", b.Bytes, b.State)
		}
		if _, state, _ := single.NextEntries(nil); state != Closed {
			t.Errorf("got %v", state)
		}
	}
	if b := other.Next(); string(b.Bytes) != "122" {
		t.Errorf("got %q", b.Bytes)
	}
}
