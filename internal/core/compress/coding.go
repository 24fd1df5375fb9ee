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

// Names are the names of the codings, in order of preference.
var Names = []string{"zstd", "gzip"}

// Parse returns the coding with this name.
func Parse(name string) (Coding, error) {
	i := slices.Index(Names, name)
	if i < 0 {
		return Identity, fmt.Errorf("must be one of %s, not %q", strings.Join(Names, ", "), name)
	}
	return Coding(i + 1), nil
}

// Check returns an error if a name is unknown or repeated.
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

// appendBegin appends the beginning of a stream.
func (c Coding) appendBegin(dst []byte) []byte {
	if c == Gzip {
		return append(dst, gzipBegin...)
	}
	return append(dst, zstdBegin...)
}

// appendText appends blocks that decode to src[start:]. The decoder's last output must be src[:start].
func (c Coding) appendText(dst, src []byte, start int) []byte {
	if c == Gzip {
		return appendDeflate(dst, src, start)
	}
	return appendZstd(dst, src, start)
}
