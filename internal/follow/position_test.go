package follow

import (
	"strings"
	"testing"
)

func TestPositionsOfEventIDsAreReadBack(t *testing.T) {
	for _, p := range []Position{
		{newGeneration(0, nil).String(), 0},
		{newGeneration(1<<64-1, make([]byte, headSize)).String(), 1<<63 - 1},
		{newGeneration(4711, []byte("a line\n")).String(), 7},
	} {
		got, ok := ParsePosition(p.String())
		if !ok || got != p {
			t.Errorf("ParsePosition(%q) = %v, %v", p, got, ok)
		}
	}
}

func TestForeignEventIDsAreNoPositions(t *testing.T) {
	for _, s := range []string{
		"", "-", "0", "1-2", "a.b-1", "a.1.00000000", "a.1.00000000-", "a.1.00000000--1",
		"a.1.00000000-+1", "a.1.00000000-01", "a.1.00000000-9223372036854775808",
		"A.1.00000000-1", "0a.1.00000000-1", "a.75.00000000-1", "a.1.0-1", "a.1.0000000G-1",
		"a.1.00000000-1-1", "a.1.00000000.1-1", " a.1.00000000-1", "a.1.00000000-1\n",
		strings.Repeat("1", 1<<20), "a.1.00000000-" + strings.Repeat("0", 1<<20),
	} {
		if p, ok := ParsePosition(s); ok {
			t.Errorf("ParsePosition(%.80q) = %v", s, p)
		}
	}
}

func FuzzParsePosition(f *testing.F) {
	f.Add("3a.74.0badcafe-1234")
	f.Add("0.0.00000000-0")
	f.Add("a.1.00000000--1")
	f.Fuzz(func(t *testing.T, s string) {
		p, ok := ParsePosition(s)
		if !ok {
			return
		}
		if p.String() != s || p.Offset < 0 {
			t.Errorf("%q was read as %+v", s, p)
		}
		g, ok := parseGeneration(p.Generation)
		if !ok || g.head < 0 || g.head > headSize {
			t.Errorf("%q has the generation %+v, %v", s, g, ok)
		}
	})
}
