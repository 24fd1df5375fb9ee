package compress

import (
	"fmt"
	"slices"
	"strings"
)

// Coding is a content coding (RFC 9110 §8.4.1). The zero value is no coding.
type Coding uint8

// The codings.
const (
	Identity Coding = iota
	Zstd
	Gzip
)

// Names are those of the codings, the preferred one first.
var Names = []string{"zstd", "gzip"}

// Parse returns the coding with that name.
func Parse(name string) (Coding, error) {
	i := slices.Index(Names, name)
	if i < 0 {
		return Identity, fmt.Errorf("must be one of %s, not %q", strings.Join(Names, ", "), name)
	}
	return Coding(i + 1), nil
}

// Check returns an error if one of the names is no coding's, or is repeated.
func Check(names []string) error {
	for i, name := range names {
		if _, err := Parse(name); err != nil {
			return err
		}
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("gives %s twice", name)
		}
	}
	return nil
}

// String returns the coding's name.
func (c Coding) String() string {
	if c == Identity {
		return "identity"
	}
	return Names[c-1]
}

// appendBegin appends what a stream begins with.
func (c Coding) appendBegin(dst []byte) []byte {
	if c == Gzip {
		return append(dst, gzipBegin...)
	}
	return append(dst, zstdBegin...)
}

// appendText appends blocks from which a decoder makes src[start:]. It has src[:start] as the last that came before.
func (c Coding) appendText(dst, src []byte, start int) []byte {
	if c == Gzip {
		return appendDeflate(dst, src, start)
	}
	return appendZstd(dst, src, start)
}
