package records

import (
	"bytes"
	"testing"
)

func TestNonASCIIByteIsFoundWhereverItStands(t *testing.T) {
	for size := range 600 {
		p := bytes.Repeat([]byte{0x7F}, size)
		if got := asciiLen(p); got != size {
			t.Fatalf("%d bytes of ASCII: found %d", size, got)
		}
		if got, want := asciiBlocks(p), asciiBlocksGeneric(p); got != want || got != size/128*128 {
			t.Fatalf("%d bytes: blocks of %d, generic %d", size, got, want)
		}
		for at := range p {
			p[at] = 0x80
			if got := asciiLen(p); got != at {
				t.Fatalf("byte %d of %d: found at %d", at, size, got)
			}
			if got, want := asciiBlocks(p), asciiBlocksGeneric(p); got != want || got != at/128*128 {
				t.Fatalf("byte %d of %d: blocks of %d, generic %d", at, size, got, want)
			}
			p[at] = 0x7F
		}
	}
}
