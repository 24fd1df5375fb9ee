package mapping

import (
	"errors"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// Limits on the cost of one function call. A macro checks the time only after several calls, so each call gets its part of
// timeLimit.
const (
	callLimit  = timeLimit / interruptCheck
	largestOut = 16 << 20 // bytes of a resulting text
	longestOut = 1 << 16  // elements of a resulting list
)

var (
	errTooLarge = errors.New("the result would be too large")
	errTooSlow  = errors.New("the list has too many different lists or maps")
)

// boundedFunctions replace functions of CEL's libraries that take quadratic time, or that can make a very long text from two
// short ones. Their results are the same.
func boundedFunctions() []cel.EnvOption {
	str, num := cel.StringType, cel.IntType
	texts, list := cel.ListType(cel.StringType), cel.ListType(cel.TypeParamType("T"))
	return []cel.EnvOption{
		cel.Function("indexOf",
			cel.MemberOverload("string_index_of_string", []*cel.Type{str, str}, num, cel.FunctionBinding(indexOf)),
			cel.MemberOverload("string_index_of_string_int", []*cel.Type{str, str, num}, num, cel.FunctionBinding(indexOf))),
		cel.Function("lastIndexOf",
			cel.MemberOverload("string_last_index_of_string", []*cel.Type{str, str}, num, cel.FunctionBinding(lastIndexOf)),
			cel.MemberOverload("string_last_index_of_string_int", []*cel.Type{str, str, num}, num, cel.FunctionBinding(lastIndexOf))),
		cel.Function("replace",
			cel.MemberOverload("string_replace_string_string", []*cel.Type{str, str, str}, str, cel.FunctionBinding(replace)),
			cel.MemberOverload("string_replace_string_string_int", []*cel.Type{str, str, str, num}, str, cel.FunctionBinding(replace))),
		cel.Function("join",
			cel.MemberOverload("list_join", []*cel.Type{texts}, str, cel.FunctionBinding(join)),
			cel.MemberOverload("list_join_string", []*cel.Type{texts, str}, str, cel.FunctionBinding(join))),
		cel.Function("distinct",
			cel.MemberOverload("list_distinct", []*cel.Type{list}, list, cel.UnaryBinding(distinct))),
		cel.Function("flatten",
			cel.MemberOverload("list_flatten", []*cel.Type{cel.ListType(list)}, list, cel.UnaryBinding(func(value ref.Val) ref.Val {
				return flatten(value, types.IntOne)
			})),
			cel.MemberOverload("list_flatten_int", []*cel.Type{cel.ListType(cel.DynType), num}, cel.ListType(cel.DynType), cel.BinaryBinding(flatten))),
	}
}

// indexOf takes (text, part, from). It counts in characters, as CEL does.
func indexOf(args ...ref.Val) ref.Val {
	text, part, from := string(args[0].(types.String)), string(args[1].(types.String)), types.IntZero
	if len(args) > 2 {
		from = args[2].(types.Int)
	}
	if from < 0 {
		return types.NewErr("index out of range: %d", from)
	}
	start, characters := skipCharacters(text, from)
	if part == "" {
		return characters
	}
	at := strings.Index(text[start:], part)
	if at < 0 {
		return types.IntNegOne
	}
	return characters + types.Int(utf8.RuneCountInString(text[start:start+at]))
}

// lastIndexOf finds the last index that is not after the third argument.
func lastIndexOf(args ...ref.Val) ref.Val {
	text, part := string(args[0].(types.String)), string(args[1].(types.String))
	all := types.Int(utf8.RuneCountInString(text))
	from := all
	if len(args) > 2 {
		if from = args[2].(types.Int); from < 0 {
			return types.NewErr("index out of range: %d", from)
		}
	}
	if part == "" {
		return min(from, all)
	}
	if len(args) > 2 && from >= all {
		return types.IntNegOne // as CEL has it
	}
	start, _ := skipCharacters(text, from)
	at := strings.LastIndex(text[:min(start+len(part), len(text))], part)
	if at < 0 {
		return types.IntNegOne
	}
	return types.Int(utf8.RuneCountInString(text[:at]))
}

// skipCharacters returns the byte index after the first n characters, and their number, which is lower if the text ends.
func skipCharacters(text string, n types.Int) (index int, skipped types.Int) {
	for skipped < n && index < len(text) {
		_, size := utf8.DecodeRuneInString(text[index:])
		index += size
		skipped++
	}
	return index, skipped
}

func replace(args ...ref.Val) ref.Val {
	text, old, with := string(args[0].(types.String)), string(args[1].(types.String)), string(args[2].(types.String))
	count := strings.Count(text, old)
	if len(args) > 3 {
		if n := args[3].(types.Int); n >= 0 {
			count = int(min(n, types.Int(count)))
		}
	}
	if more := len(with) - len(old); more > 0 && count > (largestOut-len(text))/more {
		return types.WrapErr(errTooLarge)
	}
	return types.String(strings.Replace(text, old, with, count))
}

func join(args ...ref.Val) ref.Val {
	list, between := args[0].(traits.Lister), ""
	if len(args) > 1 {
		between = string(args[1].(types.String))
	}
	var out strings.Builder
	for i, n := types.IntZero, list.Size().(types.Int); i < n; i++ {
		if i > 0 {
			out.WriteString(between)
		}
		element := list.Get(i)
		text, ok := element.(types.String)
		if !ok {
			return types.NewErr("join: invalid input: %v", element)
		}
		out.WriteString(string(text))
		if out.Len() > largestOut {
			return types.WrapErr(errTooLarge)
		}
	}
	return types.String(out.String())
}

// flatten copies each element once. CEL's own function copies it once for each level.
func flatten(value, depth ref.Val) ref.Val {
	if depth.(types.Int) < 0 {
		return types.NewErr("level must be non-negative")
	}
	var flat []ref.Val
	var add func(list traits.Lister, depth types.Int)
	add = func(list traits.Lister, depth types.Int) {
		if depth > 1 {
			decodeWhole(list)
		}
		for elements := list.Iterator(); elements.HasNext() == types.True; {
			element := elements.Next()
			if inner, ok := element.(traits.Lister); ok && depth > 0 {
				add(inner, depth-1)
			} else {
				flat = append(flat, element)
			}
		}
	}
	add(value.(traits.Lister), depth.(types.Int))
	return types.DefaultTypeAdapter.NativeToValue(flat)
}

// distinct finds equal plain values with a map. It compares only lists and maps with each other, and only until callLimit.
func distinct(value ref.Val) ref.Val {
	list, began := value.(traits.Lister), time.Now()
	seen := make(map[any]struct{})
	var kept, others []ref.Val
	for i, n := types.IntZero, list.Size().(types.Int); i < n; i++ {
		element := list.Get(i)
		if key, ok := plain(element); ok {
			if _, again := seen[key]; again {
				continue
			}
			seen[key] = struct{}{}
			kept = append(kept, element)
			continue
		}
		again := false
		for _, other := range others {
			if again = element.Equal(other) == types.True; again {
				break
			}
			if time.Since(began) > callLimit {
				return types.WrapErr(errTooSlow)
			}
		}
		if !again {
			kept, others = append(kept, element), append(others, element)
		}
	}
	return types.DefaultTypeAdapter.NativeToValue(kept)
}

// plain returns a key that is the same for equal values, such as equal numbers of different types.
func plain(value ref.Val) (key any, ok bool) {
	switch v := value.(type) {
	case types.String, types.Bool, types.Null, types.Int:
		return v, true
	case types.Uint:
		if v <= math.MaxInt64 {
			return types.Int(v), true
		}
		return v, true
	case types.Double:
		switch {
		case v != v:
			return nil, false // equal to nothing
		case v == types.Double(math.Trunc(float64(v))) && v >= -1<<63 && v < 1<<63:
			return types.Int(v), true
		case v == types.Double(math.Trunc(float64(v))) && v >= 1<<63 && v < 1<<64:
			return types.Uint(v), true
		}
		return v, true
	}
	return nil, false
}
