package share

import (
	"fmt"
	"testing"
)

func TestIDsOfFormerEpochsAreGoodAndThoseOfRecordsThatWereNeverThereAreNot(t *testing.T) {
	var e epochs
	e.begin("a", 0, 0)
	e.begin("empty", 5, 0)
	e.begin("b", 5, 0)
	e.begin("a", 8, 0) // as where each process writes in an epoch of its own
	for seq, want := range map[uint64]string{0: "a-0", 1: "a-1", 5: "a-5", 6: "b-6", 8: "b-8", 9: "a-9", 100: "a-100"} {
		if got := string(e.appendID(nil, seq)); got != want {
			t.Errorf("record %d has the id %s, not %s", seq, got, want)
		}
		if back, ok := e.seqOf(want); !ok || back != seq {
			t.Errorf("%s is record %d, %v", want, back, ok)
		}
	}
	for _, id := range []string{"a-6", "a-7", "b-4", "b-9", "c-1", "empty-6", "a", "a-", "-1", "", "a--1", "a-99999999999999999999"} {
		if seq, ok := e.seqOf(id); ok {
			t.Errorf("%q is record %d", id, seq)
		}
	}
	for id, want := range map[string]uint64{"b-5": 5, "empty-5": 5, "a-8": 8} { // where an epoch begins
		if seq, ok := e.seqOf(id); !ok || seq != want {
			t.Errorf("%q is record %d, %v", id, seq, ok)
		}
	}
}

func TestEpochsWhoseRecordsAreGoneAreForgotten(t *testing.T) {
	var e epochs
	for i := range uint64(10_000) {
		oldest := max(i, 10) - 10
		e.begin(fmt.Sprint("e", i%2), i, oldest)
		if len(e.spans) > 40 {
			t.Fatalf("%d spans for 10 records", len(e.spans))
		}
		for seq := oldest + 1; seq <= i+1; seq++ {
			if got, want := string(e.appendID(nil, seq)), fmt.Sprintf("e%d-%d", (seq-1)%2, seq); got != want {
				t.Fatalf("record %d has the id %s, not %s", seq, got, want)
			}
		}
	}
}

func TestEpochsWithoutARecordDoNotPileUp(t *testing.T) {
	var e epochs
	e.begin("a", 0, 0)
	for i := range 1000 {
		e.begin(fmt.Sprint("e", i), 5, 0)
	}
	if len(e.spans) > 1+maxEmpty {
		t.Errorf("%d spans for 5 records", len(e.spans))
	}
	if got := string(e.appendID(nil, 6)); got != "e999-6" {
		t.Errorf("the next record has the id %s", got)
	}
}

// As where each process has an upstream of its own, and where drops nearly all records.
func TestEpochsOfRecordsThatAreNotKeptDoNotPileUp(t *testing.T) {
	var e epochs
	for i := range uint64(100_000) {
		e.begin(fmt.Sprint("e", i%2), i, 1)
	}
	if len(e.spans) > maxSpans {
		t.Errorf("%d spans for one record that is kept", len(e.spans))
	}
	for id, known := range map[string]bool{"e1-100000": true, "e0-99999": true, "e1-2": false, "e0-1": false} {
		if _, ok := e.seqOf(id); ok != known {
			t.Errorf("%s is known: %v", id, ok)
		}
	}
}
