package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
)

// entriesOf returns the data of a message's entries.
func entriesOf(c *chunk) (all []string) {
	var err error
	for e := range eachEntry(c.entries, &err) {
		all = append(all, string(e.Data))
	}
	return all
}

func TestWhatComesWhileAMessageIsStoredIsInTheNextOne(t *testing.T) {
	w := newWriter()
	add := func(text string) { _ = w.Add(Entry{Data: []byte(text), Numbered: true}) }
	add("1")
	add("2")
	first, _, _ := w.next()
	add("3")
	if got := entriesOf(first); !slices.Equal(got, []string{"1", "2"}) || first.count != 2 {
		t.Errorf("first message: %q", got)
	}
	w.stored()
	if second, _, _ := w.next(); !slices.Equal(entriesOf(second), []string{"3"}) {
		t.Errorf("second message: %q", entriesOf(second))
	}
}

func TestAMessageThatIsTooLargeIsSentInHalvesAndALargeRecordIsReplaced(t *testing.T) {
	w := newWriter()
	for i := range 5 {
		_ = w.Add(Entry{Data: fmt.Append(nil, i), Numbered: i != 1})
	}
	var got []string
	for {
		c, _, _ := w.next()
		if c == nil {
			break
		}
		if c.all > 1 || entriesOf(c)[0] == "3" {
			w.split([]byte("replaced"))
			continue
		}
		if numbered := c.count == 1; numbered != (entriesOf(c)[0] != "1") {
			t.Errorf("%q has %d numbers", entriesOf(c), c.count)
		}
		got = append(got, entriesOf(c)...)
		w.stored()
	}
	if want := []string{"0", "1", "2", "replaced", "4"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if w.size != 0 {
		t.Errorf("%d bytes are left", w.size)
	}
}

func TestAnUpstreamWaitsWhileTooMuchIsNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, record := newWriter(), bytes.Repeat([]byte("x"), 100<<10)
		flushed, waited := 0, make(chan error, 1)
		go func() {
			for {
				_ = w.Add(Entry{Data: record, Numbered: true})
				if err := w.Flush(context.Background()); err != nil {
					waited <- err
					return
				}
				flushed++
			}
		}()
		synctest.Wait()
		if most := maxPending / len(record); flushed > most || flushed < most-1 {
			t.Errorf("%d records are waiting, want about %d", flushed, most)
		}
		before := flushed
		w.next()
		w.stored()
		if synctest.Wait(); flushed <= before {
			t.Error("nothing more was taken after some had been stored")
		}
		if dropped := w.close(errDeposed); dropped == 0 {
			t.Error("no record was dropped")
		}
		if err := <-waited; !errors.Is(err, errDeposed) {
			t.Errorf("the upstream got %v", err)
		}
	})
}
