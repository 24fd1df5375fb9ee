package records

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// drain reads what there is, and returns the texts of the records.
func drain(s *Splitter) (texts []string) {
	var rec Record
	for {
		switch s.Next(&rec) {
		case NeedMore:
			return texts
		case IsRecord:
			texts = append(texts, string(rec.Text))
		}
	}
}

func TestOfManyUnfinishedRecordsTheLargestIsLost(t *testing.T) {
	for _, format := range []struct {
		Format
		before, after string
	}{
		{Lines, "", "end\n"}, {NDJSON, "", "end\n"}, {JSON, `["`, `end"]`}, {JSONSeq, "\x1e[\"", "end\"]\n"}, {EventStream, "data: ", "end\n\n"},
	} {
		for _, oversize := range []Oversize{Skip, Truncate} {
			budget := NewBudget(64 << 10)
			o := Options{Format: format.Format, MaxSize: 1 << 20, Oversize: oversize, Budget: budget}
			large, small := New(o), New(o)
			feed := func(s *Splitter, text string) []string {
				s.Feed([]byte(text))
				return drain(s)
			}
			feed(small, format.before+"small")
			feed(large, format.before)
			for range 100 {
				feed(large, string(bytes.Repeat([]byte("x"), 1000)))
			}
			if budget.held > 64<<10+1<<20+1 || cap(large.carry) == 0 {
				t.Fatalf("%d: one record alone has no room: %d bytes", format.Format, budget.held)
			}
			// Its turn comes when others want room, too.
			others := make([]*Splitter, 40)
			lost := 0
			for i := range others {
				others[i] = New(o)
				feed(others[i], format.before+string(bytes.Repeat([]byte("y"), 30000)))
				lost += budget.TakeLost()
				if budget.held > 1<<20+1 {
					t.Fatalf("%d: %d bytes are held", format.Format, budget.held)
				}
			}
			if lost == 0 || cap(large.carry) > 0 {
				t.Errorf("%d: %d lost, the largest still has %d bytes", format.Format, lost, cap(large.carry))
			}
			if got := feed(large, format.after); len(got) > 0 {
				t.Errorf("%d: of the record that was lost, %q is left", format.Format, got)
			}
			if got := feed(small, format.after); len(got) != 1 || !strings.Contains(got[0], "smallend") {
				t.Errorf("%d: a small record has become %q", format.Format, got)
			}
			if got := feed(large, format.before+format.after); len(got) != 1 {
				t.Errorf("%d: the record after the one that was lost: got %q", format.Format, got)
			}
		}
	}
}

func TestABudgetIsGivenBack(t *testing.T) {
	budget := NewBudget(1 << 10)
	splitters := make([]*Splitter, 100)
	for round := range 3 {
		for i := range splitters {
			splitters[i] = New(Options{MaxSize: 512, Budget: budget})
			splitters[i].Feed(bytes.Repeat([]byte("x"), 300))
			drain(splitters[i])
		}
		for _, s := range splitters {
			s.Finish(round == 0)
			drain(s)
		}
		if budget.held != 0 || len(budget.by) > 0 {
			t.Fatalf("round %d: %d bytes by %d are held by nobody", round, budget.held, len(budget.by))
		}
	}
}

func TestRoomThatIsNotUsedGoesBeforeARecord(t *testing.T) {
	budget := NewBudget(100 << 10)
	o := Options{MaxSize: 1 << 10, Budget: budget}
	var idle []*Splitter
	for range 200 {
		s := New(o)
		s.Feed(bytes.Repeat([]byte("x"), 1000))
		drain(s)
		s.Feed([]byte("\n"))
		drain(s)
		idle = append(idle, s)
	}
	if budget.TakeLost() > 0 || budget.held > 100<<10 {
		t.Errorf("%d bytes are held", budget.held)
	}
	if slices.ContainsFunc(idle, func(s *Splitter) bool { return len(s.carry) > 0 }) {
		t.Error("a record that has ended is kept")
	}
}
