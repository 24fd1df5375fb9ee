package history

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

// model is the log as a plain list of all that was ever appended, each answer
// worked out by its definition.
type model struct {
	limits               Limits
	all                  []Entry
	oldest, first, shown int
	seq, known           uint64
	closed               bool
}

func (m *model) cost(from int) (n int) {
	for _, e := range m.all[from:] {
		c := len(e.Bytes) + len(e.ID)
		if !e.Event {
			c = max(c, controlCost)
		}
		n += c
	}
	return n
}

func events(entries []Entry) (n int) {
	for _, e := range entries {
		if e.Event {
			n++
		}
	}
	return n
}

func (m *model) evict() {
	count, size, slack := max(m.limits.Count, 1), max(m.limits.Size, 1), max(m.limits.Slack, 0)
	held := max(size, m.limits.SlackSize)
	for m.first+1 < len(m.all) && (events(m.all[m.first:]) > count || m.cost(m.first) > size) {
		m.first++
	}
	for m.oldest < m.first && (m.first-m.oldest > slack || m.cost(m.oldest) > held) {
		m.oldest++
	}
}

func (m *model) append(e Entry) {
	if m.closed {
		return
	}
	m.seq = max(m.seq, e.Seq)
	e.Seq = m.seq
	m.all = append(m.all, e)
	m.evict()
}

func (m *model) publish() { m.shown, m.known = len(m.all), m.seq }

func (m *model) tail(replay int) int {
	held := 0
	if m.first < m.shown {
		held = events(m.all[m.first:m.shown])
	}
	c := m.shown
	for n := min(max(replay, 0), held); events(m.all[c:m.shown]) < n; {
		c--
	}
	return c
}

func (m *model) afterSeq(seq uint64) (int, bool) {
	if seq > m.known {
		return m.first, false
	}
	for _, e := range m.all[:m.first] {
		if e.Seq > seq {
			return m.first, false
		}
	}
	c := m.first
	for c < m.shown && m.all[c].Seq <= seq {
		c++
	}
	return c, true
}

func (m *model) afterID(id string) (int, bool) {
	gone := -1 // the last entry with an id that was evicted
	for i, e := range m.all[:m.first] {
		if len(e.ID) > 0 {
			gone = i
		}
	}
	lone := true
	for i := gone - 1; i >= 0; i-- {
		if len(m.all[i].ID) > 0 {
			lone = string(m.all[i].ID) != string(m.all[gone].ID)
			break
		}
	}
	isGone := gone >= 0 && string(m.all[gone].ID) == id
	for i := m.oldest; i < m.first; i++ {
		if i != gone && string(m.all[i].ID) == id {
			return m.first, false // it repeats
		}
	}
	var at []int // places of events with that id, one for each run
	whole, within := true, false
	for i, e := range m.all[min(m.first, m.shown):m.shown] {
		switch {
		case string(e.ID) == id:
			if !within {
				at = append(at, m.first+i)
			}
			within = true
		case e.Event || len(e.ID) > 0:
			within = false
			whole = whole && len(at) > 0 // the first run is the first event
		}
	}
	switch {
	case id == "" || len(at) > 1:
		return m.first, false
	case isGone && (len(at) == 0 || whole):
		return m.first, gone == m.first-1 && lone
	case isGone || len(at) == 0:
		return m.first, false
	}
	return at[0] + 1, true
}

func (m *model) stats() (st Stats) {
	st.NewestSeq = m.known
	if len(m.all) > 0 {
		st.Bytes = m.cost(m.oldest)
	}
	if m.first >= m.shown {
		return st
	}
	held := m.all[m.first:m.shown]
	st.Entries, st.Events, st.OldestSeq = len(held), events(held), held[0].Seq
	for _, e := range held {
		if len(e.ID) == 0 {
			continue
		}
		if st.OldestID == "" {
			st.OldestID = string(e.ID)
		}
		st.NewestID = string(e.ID)
	}
	return st
}

// reader is a subscriber, and what the model expects of it.
type reader struct {
	*Subscriber
	place        int
	parked, left bool
	wakes, woken int
}

func (r *reader) Wake() { r.woken++ }

// held is a slice that a subscriber was given, and what it held then.
type held struct{ got, want []byte }

// run plays a script, two bytes an operation, against the log and the model.
func run(t *testing.T, script []byte) {
	l, m := New(Limits{Count: 8, Size: 2000}), &model{limits: Limits{Count: 8, Size: 2000}}
	var readers []*reader
	var kept []held
	number, dst := 0, []Entry(nil)
	for step := 0; step+1 < len(script); step += 2 {
		op, arg := script[step], int(script[step+1])
		what := fmt.Sprintf("step %d, op %d, arg %d", step/2, op%16, arg)
		switch op % 16 {
		case 0, 1, 2, 3, 4:
			number++
			size := arg % 40
			if op >= 224 { // now and then frames that fill blocks, and more than blocks
				size = arg * 300
			}
			frame := bytes.Repeat([]byte{byte(number)}, size)
			e := Entry{Seq: m.seq + uint64(arg&1), Bytes: frame, Event: arg&6 != 0}
			if arg&0x18 != 0 && e.Event || arg == 1 {
				e.ID = fmt.Appendf(nil, "id-%d", number/(1+arg>>6)) // with repeats
			}
			l.Append(e)
			m.append(Entry{Seq: e.Seq, ID: bytes.Clone(e.ID), Bytes: bytes.Clone(frame), Event: e.Event})
			clear(frame) // the log has a copy
			clear(e.ID)
		case 5, 6:
			if len(m.all) > m.shown {
				for _, r := range readers {
					if r.parked {
						r.wakes, r.parked = r.wakes+1, false
					}
				}
			}
			m.publish()
			l.Publish()
		case 7:
			if len(readers) < 20 {
				at := []Cursor{0, l.Oldest(), l.Tail(0), l.Tail(arg % 12), Cursor(arg), 1 << 60}[arg%6]
				r := &reader{place: int(min(at, Cursor(max(m.shown, m.first))))}
				r.Subscriber = l.Subscribe(at, r)
				readers = append(readers, r)
			}
		case 8:
			if len(readers) > 0 && arg < 60 {
				i := arg % len(readers)
				readers[i].Close()
				readers[i].left, readers[i].parked = true, false
				if arg%3 != 0 { // the others are asked again after they left
					readers = slices.Delete(readers, i, i+1)
				}
			}
		case 9:
			m.seq += uint64(arg % 3)
			if len(m.all) == m.shown {
				m.known = m.seq
			}
			l.Note(m.seq)
		case 10:
			if arg < 50 {
				m.limits = Limits{Count: arg % 20, Size: []int{1 << 20, 400, 70000, 0}[arg%4], Slack: arg % 7 * (arg % 3), SlackSize: arg % 5 * 300}
				m.evict()
				l.SetLimits(m.limits)
			}
		case 11:
			if arg == 7 && step > len(script)/2 {
				m.closed = true
				m.publish()
				for _, r := range readers {
					if r.parked {
						r.wakes, r.parked = r.wakes+1, false
					}
				}
				l.Close()
			}
		default:
			if len(readers) == 0 {
				continue
			}
			r := readers[arg%len(readers)]
			want := Ready
			switch {
			case r.left || r.place >= m.shown && m.closed:
				want = Closed
			case r.place >= m.shown:
				want, r.parked = Parked, true
			case r.place < m.oldest:
				want = Lagged
			}
			var got []byte
			var state State
			var missed uint64
			var n, evs int
			if op%2 == 0 {
				b := r.Next()
				got, state, missed, evs = b.Bytes, b.State, b.Missed, b.Events
				for len(got) > 0 && n < len(m.all)-r.place && frames(m.all[r.place:r.place+n]) < len(got) {
					n++
				}
				// Empty frames at the end show in the place only.
				n = max(n, int(r.Subscriber.position.Load())-r.place)
			} else {
				dst, state, missed = r.NextEntries(dst[:0])
				n, evs = len(dst), events(dst)
				for i, e := range dst {
					w := m.all[r.place+i]
					if e.Seq != w.Seq || e.Event != w.Event || string(e.ID) != string(w.ID) {
						t.Fatalf("%s: entry %+v, want %+v", what, e, w)
					}
					got = append(got, e.Bytes...)
					kept = append(kept, held{e.ID, bytes.Clone(e.ID)}, held{e.Bytes, bytes.Clone(e.Bytes)})
				}
			}
			if state != want {
				t.Fatalf("%s: state %d, want %d (place %d of %d..%d..%d)", what, state, want, r.place, m.oldest, m.first, m.shown)
			}
			switch state {
			case Lagged:
				if missed != uint64(m.first-r.place) {
					t.Fatalf("%s: missed %d, want %d", what, missed, m.first-r.place)
				}
				r.place = m.first
			case Ready:
				if n == 0 || r.place+n > m.shown {
					t.Fatalf("%s: %d entries from %d, published %d", what, n, r.place, m.shown)
				}
				taken := m.all[r.place : r.place+n]
				if all := bytes.Join(frameList(taken), nil); !bytes.Equal(got, all) || evs != events(taken) {
					t.Fatalf("%s: %d bytes, %d events; want %d, %d", what, len(got), evs, len(all), events(taken))
				}
				if len(got) > max(lastBlock, len(taken[0].Bytes)) {
					t.Fatalf("%s: batch of %d bytes", what, len(got))
				}
				kept = append(kept, held{got, bytes.Clone(got)})
				r.place += n
			}
		}
		check(t, what, l, m, readers, arg)
	}
	for _, h := range kept {
		if !bytes.Equal(h.got, h.want) {
			t.Fatal("bytes that a subscriber held have changed")
		}
	}
}

func frames(entries []Entry) (n int) {
	for _, e := range entries {
		n += len(e.Bytes)
	}
	return n
}

func frameList(entries []Entry) (list [][]byte) {
	for _, e := range entries {
		list = append(list, e.Bytes)
	}
	return list
}

// check compares everything that can be asked without changing anything.
func check(t *testing.T, what string, l *Log, m *model, readers []*reader, arg int) {
	t.Helper()
	want := m.stats()
	for _, r := range readers {
		if !r.left {
			want.Subscribers++
		}
		if int(r.Subscriber.position.Load()) != r.place || r.wakes != r.woken {
			t.Fatalf("%s: place %d, want %d; woken %d times, want %d", what, r.Subscriber.position.Load(), r.place, r.woken, r.wakes)
		}
		behind := 0
		if from := max(r.place, m.oldest); from < m.shown {
			behind = events(m.all[from:m.shown])
		}
		if got := r.Behind(); got != behind {
			t.Fatalf("%s: %d behind, want %d", what, got, behind)
		}
	}
	if cap(l.memory.ids) > idBlock {
		t.Fatalf("%s: ids of a few bytes in a piece of %d", what, cap(l.memory.ids))
	}
	if got := l.Stats(); got != want {
		t.Fatalf("%s:\nstats %+v\nwant  %+v", what, got, want)
	}
	if got := l.Held(); int(got) != m.oldest {
		t.Fatalf("%s: held from %d, want %d", what, got, m.oldest)
	}
	if got := l.Oldest(); int(got) != m.first {
		t.Fatalf("%s: oldest %d, want %d", what, got, m.first)
	}
	if got := l.Tail(arg % 12); int(got) != m.tail(arg%12) {
		t.Fatalf("%s: tail %d is %d, want %d", what, arg%12, got, m.tail(arg%12))
	}
	seq := m.seq + 3 - uint64(min(arg%20, int(m.seq)+3))
	c, ok := l.AfterSeq(seq)
	if wc, wok := m.afterSeq(seq); int(c) != wc || ok != wok {
		t.Fatalf("%s: after seq %d: %d %v, want %d %v", what, seq, c, ok, wc, wok)
	}
	at := max(0, len(m.all)-1-arg%25)
	id := "never"
	if at < len(m.all) {
		id = string(m.all[at].ID)
	}
	c, ok = l.AfterID(id)
	if wc, wok := m.afterID(id); int(c) != wc || ok != wok {
		t.Fatalf("%s: after id %q: %d %v, want %d %v", what, id, c, ok, wc, wok)
	}
	// Before must know everything that the history offers a place for.
	at = min(m.first+arg%25, m.shown)
	id, seq = "", 0
	for _, e := range m.all[:at] {
		if len(e.ID) > 0 {
			id, seq = string(e.ID), e.Seq
		}
	}
	if got, gotSeq := l.Before(Cursor(at)); at >= m.first && (got != id || gotSeq != seq) {
		t.Fatalf("%s: before %d: %q %d, want %q %d", what, at, got, gotSeq, id, seq)
	}
}

// TestLogBehavesLikeAPlainList plays random scripts for as long as the
// environment variable HISTORY_MODEL says (a Go duration), by default 300 scripts.
func TestLogBehavesLikeAPlainList(t *testing.T) {
	duration, _ := time.ParseDuration(os.Getenv("HISTORY_MODEL"))
	start, base, scripts := time.Now(), uint64(1), 0
	if duration > 0 {
		base = uint64(start.UnixNano())
	}
	for ; scripts < 300 || time.Since(start) < duration; scripts++ {
		seed := base + uint64(scripts)
		random := rand.New(rand.NewPCG(seed, 0))
		script := make([]byte, 2*(1+random.IntN(1200)))
		for i := range script {
			script[i] = byte(random.Uint32())
		}
		if ok := t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { run(t, script) }); !ok {
			return
		}
	}
	t.Logf("%d scripts in %v", scripts, time.Since(start).Round(time.Millisecond))
}

func FuzzLog(f *testing.F) {
	f.Add([]byte{7, 0, 0, 30, 5, 0, 12, 0, 13, 0, 10, 3, 8, 0})
	f.Add([]byte{7, 2, 12, 0, 224, 255, 225, 255, 5, 0, 12, 0, 13, 0, 11, 7, 12, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		run(t, script[:min(len(script), 4096)])
	})
}
