// Package pattern matches regular expressions (RE2) in bounded time.
package pattern

import (
	"errors"
	"io"
	"regexp"
	"regexp/syntax"
	"time"
	"unicode/utf8"
)

// Bounds are those of a pattern: its length in bytes, its size in instructions, and the time for a text. A text that is
// matched in so few steps needs no look at the clock.
type Bounds struct {
	Length, Size int
	Steps        int
	Time         time.Duration
}

// Errors of patterns beyond their bounds.
var (
	ErrTooLarge = errors.New("a pattern that is not in the config itself must be short")
	ErrTooSlow  = errors.New("the pattern takes too long")
)

// Pattern is a regular expression. It takes time in proportion to its own size and that of the text, so that the product
// of two that are large has to be bounded. Many goroutines may use it.
type Pattern struct {
	*regexp.Regexp
	size   int // instructions
	bounds Bounds
}

// Compile compiles an expression.
func Compile(expr string, within Bounds) (*Pattern, error) {
	if len(expr) > within.Length {
		return nil, ErrTooLarge
	}
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, err
	}
	p := &Pattern{size: instructions(parsed), bounds: within}
	if p.size > within.Size {
		return nil, ErrTooLarge
	}
	p.Regexp, err = regexp.Compile(expr)
	return p, err
}

// Match reports whether the text has a match.
func (p *Pattern) Match(text string) (bool, error) {
	if p.isQuick(len(text)) {
		return p.MatchString(text), nil
	}
	reader := newTimedReader(text, p.bounds.Time)
	found := p.MatchReader(reader)
	return found, reader.err()
}

// FindGroups returns where the first match and its groups begin and end, as regexp does. It is nil without a match.
func (p *Pattern) FindGroups(text []byte) ([]int, error) {
	if p.isQuick(len(text)) {
		return p.FindSubmatchIndex(text), nil
	}
	reader := newTimedReader(text, p.bounds.Time)
	found := p.FindReaderSubmatchIndex(reader)
	return found, reader.err()
}

func (p *Pattern) isQuick(length int) bool { return p.size*length <= p.bounds.Steps }

// instructions is about how many a pattern is compiled to: a repetition is as many copies of what it repeats.
func instructions(re *syntax.Regexp) int {
	n := 1
	if re.Op == syntax.OpLiteral {
		n = len(re.Rune)
	}
	for _, part := range re.Sub {
		n += instructions(part)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return n
}

// timedReader ends a text before its end once there is no more time: nothing else stops a regular expression.
type timedReader[T string | []byte] struct {
	text  T
	place int
	until time.Time
	read  int
	late  bool
}

func newTimedReader[T string | []byte](text T, limit time.Duration) *timedReader[T] {
	return &timedReader[T]{text: text, until: time.Now().Add(limit)}
}

func (r *timedReader[T]) ReadRune() (c rune, size int, err error) {
	const check = 16 // a look at the clock costs as much as a step of a small program
	if r.read++; r.read%check == 0 && time.Now().After(r.until) {
		r.late = true
	}
	if r.late || r.place == len(r.text) {
		return 0, 0, io.EOF
	}
	c, size = utf8.DecodeRuneInString(string(r.text[r.place:min(r.place+utf8.UTFMax, len(r.text))])) // no copy of the whole
	r.place += size
	return c, size, nil
}

func (r *timedReader[T]) err() error {
	if r.late {
		return ErrTooSlow
	}
	return nil
}
