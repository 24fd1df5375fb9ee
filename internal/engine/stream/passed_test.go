package stream

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// isOpen reports whether a field of an event has come since the last blank line (WHATWG HTML §9.2.6).
func isOpen(stream string) bool {
	open := false
	for line := range strings.Lines(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(stream)) {
		if line == "\n" {
			open = false
		} else if line[0] != ':' && !strings.HasPrefix(line, "retry:") {
			open = true
		}
	}
	return open
}

// passPieces passes random pieces, made of these parts, and calls check with the text up to the end of each.
func passPieces(parts []string, check func(e *passedEvents, stream string)) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 5_000 {
		e := &passedEvents{tail: [3]byte{'\n', '\n', '\n'}}
		stream := ""
		for range 1 + random.IntN(8) {
			piece := ""
			for range 1 + random.IntN(4) {
				piece += parts[random.IntN(len(parts))]
			}
			e.take([]byte(piece))
			stream += piece
			check(e, stream)
		}
	}
}

func TestHeartbeatsAreNeverInAnEventThatPasses(t *testing.T) {
	passPieces([]string{"\n", "\r", "\r\n", ":", "d", "retry:", "re", "1"}, func(e *passedEvents, stream string) {
		if e.between() && (isOpen(stream) || !strings.HasSuffix(stream, "\n")) {
			t.Fatalf("a heartbeat would be in an event, or a line, after %q", stream)
		}
	})
}

func TestHeartbeatsAreSentWhereverALineEndsBetweenEvents(t *testing.T) {
	passPieces([]string{"\n", "\r\n", ":\n", ": 1\r\n", "data: 1\n", "retry: 1\n"}, func(e *passedEvents, stream string) {
		if e.between() != !isOpen(stream) {
			t.Fatalf("between events: %t after %q", e.between(), stream)
		}
	})
}
