package fleet

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

func fullBatch() *batch {
	b := &batch{
		kind: isRecords, epoch: "e1", node: "n/1", nonce: 7, at: time.UnixMilli(1234567890123),
		after: 9, first: 1 << 40, count: 2, losses: 3, position: Position{LastID: []byte("a\x00b"), Own: true}, text: "why",
	}
	for _, e := range []Entry{{Data: []byte("one"), Numbered: true}, {Data: []byte{}}, {Data: bytes.Repeat([]byte("x"), 1000), Numbered: true}} {
		b.entries = appendEntry(b.entries, e)
	}
	return b
}

func TestAMessageIsReadAsItWasWritten(t *testing.T) {
	want := fullBatch()
	got, err := decode(want.encode())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %v\nwant %+v", got, err, want)
	}
}

func TestAForeignMessageIsNotRead(t *testing.T) {
	whole := fullBatch().encode()
	newer := append([]byte{version + 1}, whole[1:]...)
	for _, data := range [][]byte{nil, []byte("{}"), []byte("some text of another application"), newer, whole[:len(whole)-1], append(bytes.Clone(whole), 0xff)} {
		if _, err := decode(data); !errors.Is(err, errForeign) {
			t.Errorf("%.20q: %v", data, err)
		}
	}
}

func TestManyStatesAreAnnouncedInPieces(t *testing.T) {
	var states []state
	for i := range 5000 {
		states = append(states, state{log: "0123456789abcdefghijklmnop", member: uint64(i), wants: i%2 == 0, leads: i%3 == 0, yields: i%5 == 0, gone: i%7 == 0, pos: store.Pos(i), last: 1 << 50, epoch: "epoch"})
	}
	var got []state
	for _, data := range encodeBeats("node", states) {
		if len(data) > maxBeat+256 {
			t.Errorf("an announcement of %d bytes", len(data))
		}
		node, some := decodeBeat(data)
		if node != "node" {
			t.Fatalf("node %q", node)
		}
		got = append(got, some...)
	}
	if !reflect.DeepEqual(got, states) {
		t.Errorf("%d states of %d, or others", len(got), len(states))
	}
}

// FuzzDecode: whatever is in the store, reading it ends, and reads no more than is there.
func FuzzDecode(f *testing.F) {
	f.Add(fullBatch().encode())
	f.Add([]byte{1, 1, 0, 1, 'e', 0, 0, 0, 0, 1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		decodeBeat(data)
		b, err := decode(data)
		if err != nil {
			return
		}
		again, err := decode(b.encode())
		if err != nil || !reflect.DeepEqual(again, b) {
			t.Errorf("%+v, %v\nwant %+v", again, err, b)
		}
	})
}
