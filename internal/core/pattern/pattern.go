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

// Bounds are the limits of a pattern and its matching.
type Bounds struct {
	Length int           // of the pattern, in bytes
	Size   int           // of the pattern, in instructions
	Steps  int           // a match with no more steps is not timed
	Time   time.Duration // for one match with more steps
}

// The errors of patterns beyond their bounds.
var (
	ErrTooLarge = errors.New("a pattern that is not in the config itself must be short")
	ErrTooSlow  = errors.New("the pattern takes too long")
)

// Pattern is a regular expression. The time for a match is proportional to the size of the pattern and to that of the text. So it
// has to be limited where both are large. Many goroutines may use a Pattern at the same time.
type Pattern struct {
	*regexp.Regexp
	size   int // in instructions
	bounds Bounds
}

// Compile compiles an expression. It returns ErrTooLarge if the expression is longer or larger than the bounds allow.
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

// Match reports whether the text has a match. It returns ErrTooSlow after Bounds.Time.
func (p *Pattern) Match(text string) (bool, error) {
	if p.isQuick(len(text)) {
		return p.MatchString(text), nil
	}
	reader := newTimedReader(text, p.bounds.Time)
	found := p.MatchReader(reader)
	return found, reader.err()
}

// FindGroups returns the indexes of the first match and of its groups, as regexp's FindSubmatchIndex does, or nil without a match.
// It returns ErrTooSlow after Bounds.Time.
func (p *Pattern) FindGroups(text []byte) ([]int, error) {
	if p.isQuick(len(text)) {
		return p.FindSubmatchIndex(text), nil
	}
	reader := newTimedReader(text, p.bounds.Time)
	found := p.FindReaderSubmatchIndex(reader)
	return found, reader.err()
}

func (p *Pattern) isQuick(length int) bool { return p.size*length <= p.bounds.Steps }

// instructions estimates the number of instructions. A repetition is compiled to copies.
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

// timedReader reads a text, and pretends that it ends when the time is over. Nothing else stops a regular expression.
type timedReader[T string | []byte] struct {
	text  T
	index int
	until time.Time
	read  int
	late  bool
}

func newTimedReader[T string | []byte](text T, limit time.Duration) *timedReader[T] {
	return &timedReader[T]{text: text, until: time.Now().Add(limit)}
}

func (r *timedReader[T]) ReadRune() (c rune, size int, err error) {
	const check = 16 // the clock is read only sometimes, because that takes as long as a step of a small pattern
	if r.read++; r.read%check == 0 && time.Now().After(r.until) {
		r.late = true
	}
	if r.late || r.index == len(r.text) {
		return 0, 0, io.EOF
	}
	c, size = utf8.DecodeRuneInString(string(r.text[r.index:min(r.index+utf8.UTFMax, len(r.text))])) // copies four bytes at most
	r.index += size
	return c, size, nil
}

func (r *timedReader[T]) err() error {
	if r.late {
		return ErrTooSlow
	}
	return nil
}
