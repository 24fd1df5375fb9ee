package mapping

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// lookup finds the value at one path, by walking down from s for it alone.
func lookup(s string, path []key) (value string, ok bool) {
	for _, k := range path {
		switch s[0] {
		case '{':
			s, ok = member(s, k.name)
		case '[':
			s, ok = element(s, k.index)
		default:
			ok = false
		}
		if !ok {
			return "", false
		}
	}
	return s[:skipValue(s, 0)], true
}

func element(s string, n int) (rest string, ok bool) {
	if n < 0 {
		return "", false
	}
	for i := next(s, 1); s[i] != ']'; n-- {
		if n == 0 {
			return s[i:], true
		}
		i = next(s, skipValue(s, i))
	}
	return "", false
}

// someJSON writes a random value in which the same few names come again and again.
func someJSON(b *strings.Builder, r *rand.Rand, depth int) {
	space := func() { b.WriteString([]string{"", "", " ", "\t "}[r.IntN(4)]) }
	space()
	defer space()
	switch kind := r.IntN(7); {
	case kind < 2 && depth > 0:
		b.WriteByte('{')
		for i := range r.IntN(5) {
			if i > 0 {
				b.WriteByte(',')
			}
			space()
			b.WriteString([]string{`"a"`, `"\u0061"`, `"b"`, `"0"`, `"1"`, `"b\\"`, `"b\\\\"`, `""`}[r.IntN(8)])
			space()
			b.WriteByte(':')
			someJSON(b, r, depth-1)
		}
		space()
		b.WriteByte('}')
	case kind < 4 && depth > 0:
		b.WriteByte('[')
		for i := range r.IntN(4) {
			if i > 0 {
				b.WriteByte(',')
			}
			someJSON(b, r, depth-1)
		}
		b.WriteByte(']')
	default:
		b.WriteString([]string{"1", "-2.5e3", `"x"`, `"[{\"a\":1}]"`, "true", "null", `""`}[r.IntN(7)])
	}
}

func TestOnePassFindsTheValuesOfAllPaths(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "b", "0", "1", `b\`, `b\\`, "missing", "01"}
	for round := range 20_000 {
		in := new(paths)
		var all [][]key
		var nodes []int
		for range r.IntN(6) {
			var path []key
			for range 1 + r.IntN(3) {
				path = append(path, newKey(names[r.IntN(len(names))]))
			}
			all, nodes = append(all, path), append(nodes, in.add(path))
		}
		var document Document
		for range 3 { // the document is used again
			var text strings.Builder
			someJSON(&text, r, 4)
			document.Reset([]byte(text.String()), 1)
			for i, path := range all {
				value, ok := document.find(in, nodes[i])
				if want, wanted := lookup(strings.TrimSpace(text.String()), path); value != want || ok != wanted {
					t.Fatalf("round %d, %s at %s: %q %t, want %q %t", round, text.String(), fmt.Sprint(path), value, ok, want, wanted)
				}
			}
		}
	}
}
