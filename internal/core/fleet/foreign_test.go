package fleet

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// synced is a source that notes how much it had when it was synced.
type synced struct {
	short
	had  int
	done chan struct{}
}

func (s *synced) Wants() bool { return false }
func (s *synced) Synced()     { defer s.lock()(); s.had = len(s.got); close(s.done) }

func TestAForeignMessageAtTheEndOfALogDoesNotHideTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(rand.New(rand.NewPCG(1, 1)))
		e.calm = true
		pos := store.Pos(0)
		b := &batch{kind: isOpened, epoch: "e", node: "n/1", nonce: 1, at: time.Now(), first: 1}
		for i := range uint64(5) {
			pos, _ = e.append(pos, b.encode())
			b = &batch{
				kind: isRecords, epoch: "e", node: "n/1", nonce: i + 2, at: time.Now(), after: b.mark(), first: i + 1, count: 1,
				entries: appendEntry(nil, Entry{Data: []byte("record"), Numbered: true}),
			}
		}
		e.append(pos, []byte("some text of another application"))
		f := New(e.connect(), store.Settings{Count: 100, Size: 1 << 20, Age: time.Hour, Lease: time.Second}, nobody{})
		src := &synced{done: make(chan struct{})}
		m := f.Join("log", src, false, 0)
		<-src.done
		if src.had != 4 {
			t.Errorf("the source has %d records when it is said to have all 4", src.had)
		}
		if !m.CatchUp(t.Context()) {
			t.Error("the member does not catch up with a log that ends with a foreign message")
		}
		m.Leave()
		f.Close()
	})
}

func TestAMemberThatOnlyFollowsForgetsWhatTheStoreNoLongerKeeps(t *testing.T) {
	for name, settings := range map[string]store.Settings{
		"count": {Count: 80, Size: 1 << 30, Age: time.Hour},
		"size":  {Count: 1 << 30, Size: 8000, Age: time.Hour},
		"age":   {Count: 1 << 30, Size: 1 << 30, Age: 80 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			m := &Member{identity: identity{fleet: &Fleet{settings: settings}}}
			now := time.Now().Add(-10_000 * time.Second)
			for i := range 10_000 {
				now = now.Add(time.Second)
				m.keep(store.Pos(i+1), &batch{count: 1, at: now}, 100)
			}
			if n := len(m.messages); n < 78 || n > 120 {
				t.Errorf("it knows of %d messages, of which the store keeps 80", n)
			}
		})
	}
}

func TestNumbersAndEpochsThatNoMemberHasMadeAreForeign(t *testing.T) {
	for _, change := range []func(*batch){
		func(b *batch) { b.first = math.MaxUint64 },
		func(b *batch) { b.first = maxNumber + 1 },
		func(b *batch) { b.epoch = "a\nid: b" },
		func(b *batch) { b.epoch = "a-1" },
		func(b *batch) { b.epoch = strings.Repeat("e", 1000) },
	} {
		b := fullBatch()
		change(b)
		if _, err := decode(b.encode()); !errors.Is(err, errForeign) {
			t.Errorf("first %d, epoch %.20q: %v", b.first, b.epoch, err)
		}
	}
	good := state{log: "log", last: 7, epoch: "e"}
	_, states := decodeBeat(encodeBeats("node", []state{good, {log: "log", last: math.MaxUint64}})[0])
	if len(states) != 1 || states[0] != good {
		t.Errorf("announced: %+v", states)
	}
}
