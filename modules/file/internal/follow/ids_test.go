package follow

import (
	"strings"
	"testing"
)

var testPositions = []Position{
	{Generation: newGeneration(0, nil).String()},
	{Generation: newGeneration(1<<64-1, make([]byte, headSize)).String(), Offset: 1<<63 - 1},
	{Generation: newGeneration(4711, []byte("a line\n")).String(), Offset: 7, InLine: true},
}

func TestEventIDsAreReadBack(t *testing.T) {
	ids := NewIDs(Key{1}, "app.log")
	for _, p := range testPositions {
		id := string(ids.Append(nil, p))
		if got, ok := NewIDs(Key{1}, "app.log").Parse(id); !ok || got != p {
			t.Errorf("%q is read as %v, %v", id, got, ok)
		}
	}
	p := testPositions[2]
	buf := make([]byte, 0, maxID)
	if n := testing.AllocsPerRun(100, func() { p.Offset++; ids.Append(buf, p) }); n > 0 {
		t.Errorf("an id allocates %v times", n)
	}
}

func TestEventIDsThatAnybodyElseHasMadeAreUnknown(t *testing.T) {
	ids := NewIDs(Key{1}, "app.log")
	p := testPositions[2]
	made := string(ids.Append(nil, p))
	later, others := p, p
	later.Offset++
	others.Generation = newGeneration(4712, []byte("a line\n")).String()
	digest := made[strings.LastIndexByte(made, '-'):]
	for _, s := range []string{
		"", "-", "--", "0", "1-2", "1-2-3", p.Generation + "-7", p.Generation + "-7-", p.Generation + "-7-0000000000000000",
		p.Generation + "-8" + digest, p.Generation + "-07" + digest, others.Generation + "-7" + digest,
		made + "0", made[:len(made)-1], strings.ToUpper(made), " " + made, made + "\n", made + "-1",
		string(NewIDs(Key{2}, "app.log").Append(nil, p)), string(NewIDs(Key{1}, "other.log").Append(nil, p)),
		strings.Repeat("1", 1<<20), strings.Repeat("0", 1<<20) + made,
	} {
		if got, ok := ids.Parse(s); ok {
			t.Errorf("%.80q is read as %v", s, got)
		}
	}
	if _, ok := ids.Parse(string(ids.Append(nil, later))); !ok {
		t.Error("one that it has made is unknown")
	}
}

func FuzzParseID(f *testing.F) {
	ids := NewIDs(Key{1}, "app.log")
	for _, p := range testPositions {
		f.Add(string(ids.Append(nil, p)))
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, ok := ids.Parse(s); ok && (string(ids.Append(nil, p)) != s || p.Offset < 0) {
			t.Errorf("%q was read as %+v", s, p)
		}
	})
}
