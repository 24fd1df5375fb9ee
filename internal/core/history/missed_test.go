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
