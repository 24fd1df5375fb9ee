package mapping

import (
	"errors"
	"io"
	"math"
	"regexp"
	"regexp/syntax"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// bounds are those of a pattern: its length in bytes, its size in instructions, and the time for a text. A text that is
// matched in so few steps needs no look at the clock.
type bounds struct {
	length, size int
	steps        int
	time         time.Duration
}

var (
	ofConfig = bounds{length: math.MaxInt, size: math.MaxInt, steps: 1 << 24, time: timeLimit}
	ofOthers = bounds{length: 512, size: 10_000, steps: 1 << 22, time: callLimit} // of records and requests
)

var (
	errPatternTooLarge = errors.New("a pattern that is not in the config itself must be short")
	errPatternTooSlow  = errors.New("the pattern takes too long")
)

// standardLibrary is CEL's, but for matches: there is no other way to replace a function of it that has one
// implementation for all of its overloads.
func standardLibrary() cel.EnvOption {
	return cel.StdLib(cel.StdLibSubset(env.NewLibrarySubset().AddExcludedFunctions(env.NewFunction(overloads.Matches))))
}

func boundedMatches() cel.EnvOption {
	texts, boolean := []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType
	return cel.Function(overloads.Matches,
		cel.Overload(overloads.Matches, texts, boolean), cel.MemberOverload(overloads.MatchesString, texts, boolean),
		cel.SingletonBinaryBinding(matches))
}

// compiledMatches has the patterns that are in the config compiled when that loads, as CEL does.
func compiledMatches() cel.ProgramOption {
	var all []*interpreter.RegexOptimization
	for _, overload := range []string{overloads.Matches, overloads.MatchesString} {
		all = append(all, &interpreter.RegexOptimization{Function: overloads.Matches, OverloadID: overload, RegexIndex: 1,
			Factory: func(call interpreter.InterpretableCall, expr string) (interpreter.InterpretableCall, error) {
				p, err := newPattern(expr, ofConfig)
				if err != nil {
					return nil, err
				}
				return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), func(values ...ref.Val) ref.Val {
					return p.match(values[0])
				}), nil
			}})
	}
	return cel.OptimizeRegex(all...)
}

func matches(text, expr ref.Val) ref.Val {
	pattern, ok := expr.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(expr)
	}
	p, err := newPattern(string(pattern), ofOthers)
	if err != nil {
		return types.WrapErr(err)
	}
	return p.match(text)
}

// pattern is a regular expression. It takes time in proportion to its own size and that of the text, so that the product
// of two that are large has to be bounded.
type pattern struct {
	*regexp.Regexp
	size   int // instructions
	bounds bounds
}

func newPattern(expr string, within bounds) (*pattern, error) {
	if len(expr) > within.length {
		return nil, errPatternTooLarge
	}
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, err
	}
	p := &pattern{size: instructions(parsed), bounds: within}
	if p.size > within.size {
		return nil, errPatternTooLarge
	}
	p.Regexp, err = regexp.Compile(expr)
	return p, err
}

func (p *pattern) match(value ref.Val) ref.Val {
	text, ok := value.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(value)
	}
	if p.size*len(text) <= p.bounds.steps {
		return types.Bool(p.MatchString(string(text)))
	}
	reader := &timedReader{text: strings.NewReader(string(text)), until: time.Now().Add(p.bounds.time)}
	found := p.MatchReader(reader)
	if reader.late {
		return types.WrapErr(errPatternTooSlow)
	}
	return types.Bool(found)
}

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
type timedReader struct {
	text  *strings.Reader
	until time.Time
	read  int
	late  bool
}

func (r *timedReader) ReadRune() (c rune, size int, err error) {
	const check = 16 // a look at the clock costs as much as a step of a small program
	if r.read++; r.read%check == 0 && time.Now().After(r.until) {
		r.late = true
	}
	if r.late {
		return 0, 0, io.EOF
	}
	return r.text.ReadRune()
}
