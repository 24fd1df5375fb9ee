package mapping

import (
	"math"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/pattern"
)

var (
	ofConfig = pattern.Bounds{Length: math.MaxInt, Size: math.MaxInt, Steps: 1 << 24, Time: timeLimit} // for patterns in the config
	ofOthers = pattern.Bounds{Length: 512, Size: 10_000, Steps: 1 << 22, Time: callLimit}              // for patterns from records and requests
)

// standardLibrary is CEL's standard library without matches. There is no other way to replace a function that has one
// implementation for all overloads.
func standardLibrary() cel.EnvOption {
	return cel.StdLib(cel.StdLibSubset(env.NewLibrarySubset().AddExcludedFunctions(env.NewFunction(overloads.Matches))))
}

func boundedMatches() cel.EnvOption {
	texts, boolean := []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType
	return cel.Function(overloads.Matches,
		cel.Overload(overloads.Matches, texts, boolean), cel.MemberOverload(overloads.MatchesString, texts, boolean),
		cel.SingletonBinaryBinding(matches))
}

// compiledMatches compiles the patterns in the config when it loads, as CEL does.
func compiledMatches() cel.ProgramOption {
	var all []*interpreter.RegexOptimization
	for _, overload := range []string{overloads.Matches, overloads.MatchesString} {
		all = append(all, &interpreter.RegexOptimization{Function: overloads.Matches, OverloadID: overload, RegexIndex: 1,
			Factory: func(call interpreter.InterpretableCall, expr string) (interpreter.InterpretableCall, error) {
				p, err := pattern.Compile(expr, ofConfig)
				if err != nil {
					return nil, err
				}
				return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), func(values ...ref.Val) ref.Val {
					return matchText(p, values[0])
				}), nil
			}})
	}
	return cel.OptimizeRegex(all...)
}

func matches(text, expr ref.Val) ref.Val {
	source, ok := expr.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(expr)
	}
	p, err := pattern.Compile(string(source), ofOthers)
	if err != nil {
		return types.WrapErr(err)
	}
	return matchText(p, text)
}

func matchText(p *pattern.Pattern, value ref.Val) ref.Val {
	text, ok := value.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(value)
	}
	found, err := p.Match(string(text))
	if err != nil {
		return types.WrapErr(err)
	}
	return types.Bool(found)
}
