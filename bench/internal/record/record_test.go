package record

import (
	"encoding/json"
	"testing"
)

func TestRecordIsJSONOfTheAskedSizeAndReadsBack(t *testing.T) {
	for _, size := range []int{0, MinSize, MinSize + 1, 200, 4096} {
		line := New(size)
		Stamp(line, First+41, 1763860000123456789)
		if want := max(size, MinSize) - 1; len(line) != want {
			t.Errorf("size %d: line has %d bytes, want %d", size, len(line), want)
		}
		var v struct {
			N, T int64
			Type string
		}
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("size %d: %v in %s", size, err, line)
		}
		n, sent, err := Parse(line)
		if err != nil || n != First+41 || sent != 1763860000123456789 || n != v.N || sent != v.T || v.Type != Type {
			t.Errorf("size %d: Parse = %d, %d, %v; JSON says %+v", size, n, sent, err, v)
		}
	}
}

func TestParseRefusesWhatIsNotARecord(t *testing.T) {
	good := New(120)
	Stamp(good, First, 1)
	for i := range padAt {
		bad := append([]byte(nil), good...)
		bad[i] = ':' // the byte after '9', which a sloppy digit test lets through
		if bad[i] == good[i] {
			bad[i] = 'x'
		}
		if _, _, err := Parse(bad); err == nil {
			t.Errorf("byte %d wrong and accepted: %s", i, bad)
		}
	}
	for _, bad := range [][]byte{nil, []byte("{}"), good[:len(good)-1], good[1:]} {
		if _, _, err := Parse(bad); err == nil {
			t.Errorf("accepted %s", bad)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	line := New(200)
	Stamp(line, First, 1763860000123456789)
	for b.Loop() {
		if _, _, err := Parse(line); err != nil {
			b.Fatal(err)
		}
	}
}
