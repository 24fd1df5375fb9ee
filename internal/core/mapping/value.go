package mapping

import (
	"reflect"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// Objects and arrays in a record become CEL values that decode only the parts that an expression uses, one level at a time. The
// first few members are found by a scan of the object's text. If an expression uses more, all members are decoded once, so that
// n members do not take n scans.
const scans = 8

// celValue returns the CEL value of the JSON value s. An integer becomes an int, or a uint if it is too large for an int, or else
// a double. A number with a fraction or an exponent becomes a double.
func celValue(s string) ref.Val {
	switch s[0] {
	case '{':
		return &object{raw: s}
	case '[':
		return &array{raw: s}
	case '"':
		return celString(s)
	case 't':
		return types.True
	case 'f':
		return types.False
	case 'n':
		return types.NullValue
	}
	if !strings.ContainsAny(s, ".eE") {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return types.Int(n)
		}
		if n, err := strconv.ParseUint(s, 10, 64); err == nil {
			return types.Uint(n)
		}
	}
	// The only possible error is a number out of range. Then f is an infinity.
	f, _ := strconv.ParseFloat(s, 64)
	return types.Double(f)
}

// celValueAt returns the CEL value of the JSON value at s[i:], and the end of the JSON value.
func celValueAt(s string, i int, whole bool) (v ref.Val, end int) {
	if whole && s[i] == '{' {
		o := &object{raw: s[i:]}
		return o, i + o.decode(whole)
	}
	if whole && s[i] == '[' {
		a := &array{raw: s[i:]}
		return a, i + a.decode(whole)
	}
	end = skipValue(s, i)
	return celValue(s[i:end]), end
}

// decodeWhole decodes all levels of a value in one pass. It is for comparisons, which use all levels. Decoding level by level
// would read the text of the lower levels many times.
func decodeWhole(v ref.Val) {
	switch v := v.(type) {
	case *object:
		if !v.whole {
			v.decode(true)
		}
	case *array:
		if !v.whole {
			v.decode(true)
		}
	}
}

func celString(s string) types.String {
	raw := s[1 : len(s)-1]
	if strings.IndexByte(raw, '\\') < 0 {
		return types.String(raw)
	}
	return types.String(appendUnescaped(nil, raw))
}

// object is a JSON object as a CEL map.
type object struct {
	raw     string
	scanned int
	all     traits.Mapper
	whole   bool // all levels are decoded
}

// decoded returns the object with all its members decoded.
func (o *object) decoded() traits.Mapper {
	if o.all == nil {
		o.decode(false)
	}
	return o.all
}

// decode decodes the object at the beginning of raw, and returns its end.
func (o *object) decode(whole bool) (end int) {
	members := make(map[ref.Val]ref.Val)
	i := next(o.raw, 1)
	for o.raw[i] != '}' {
		end := skipString(o.raw, i)
		name := celString(o.raw[i:end])
		i = skipSpace(o.raw, skipSpace(o.raw, end)+1) // the colon
		value, end := celValueAt(o.raw, i, whole)
		if _, ok := members[name]; !ok { // the first one wins, as in lookup
			members[name] = value
		}
		i = next(o.raw, end)
	}
	end = i + 1
	o.raw, o.all, o.whole = o.raw[:end], types.NewRefValMap(types.DefaultTypeAdapter, members), whole
	return end
}

// Find returns the member with that name.
func (o *object) Find(name ref.Val) (ref.Val, bool) {
	text, ok := name.(types.String)
	if !ok {
		return nil, false
	}
	if o.all != nil || o.scanned == scans {
		return o.decoded().Find(name)
	}
	o.scanned++
	rest, ok := member(o.raw, string(text))
	if !ok {
		return nil, false
	}
	return celValue(rest[:skipValue(rest, 0)]), true
}

// Get returns the member with that name, or an error.
func (o *object) Get(name ref.Val) ref.Val {
	if v, ok := o.Find(name); ok {
		return v
	}
	return types.ValOrErr(name, "no such key: %v", name)
}

// Contains implements the operator in.
func (o *object) Contains(name ref.Val) ref.Val {
	_, ok := o.Find(name)
	return types.Bool(ok)
}

// Equal compares member by member.
func (o *object) Equal(other ref.Val) ref.Val {
	decodeWhole(o)
	decodeWhole(other)
	return o.all.Equal(other)
}

func (o *object) Size() ref.Val                               { return o.decoded().Size() }
func (o *object) IsZeroValue() bool                           { return o.Size() == types.IntZero }
func (o *object) Iterator() traits.Iterator                   { return o.decoded().Iterator() }
func (o *object) ConvertToNative(t reflect.Type) (any, error) { return o.decoded().ConvertToNative(t) }
func (o *object) ConvertToType(t ref.Type) ref.Val            { return o.decoded().ConvertToType(t) }
func (o *object) Type() ref.Type                              { return types.MapType }
func (o *object) Value() any                                  { return o.decoded().Value() }
func (o *object) String() string                              { return o.raw }

// array is a JSON array as a CEL list.
type array struct {
	raw   string
	all   traits.Lister
	whole bool // all levels are decoded
}

// decoded returns the array with all its elements decoded.
func (a *array) decoded() traits.Lister {
	if a.all == nil {
		a.decode(false)
	}
	return a.all
}

// decode decodes the array at the beginning of raw, and returns its end.
func (a *array) decode(whole bool) (end int) {
	var elements []ref.Val
	i := next(a.raw, 1)
	for a.raw[i] != ']' {
		element, end := celValueAt(a.raw, i, whole)
		elements = append(elements, element)
		i = next(a.raw, end)
	}
	end = i + 1
	a.raw, a.all, a.whole = a.raw[:end], types.NewRefValList(types.DefaultTypeAdapter, elements), whole
	return end
}

// Equal compares element by element.
func (a *array) Equal(other ref.Val) ref.Val {
	decodeWhole(a)
	decodeWhole(other)
	return a.all.Equal(other)
}

func (a *array) Get(index ref.Val) ref.Val                   { return a.decoded().Get(index) }
func (a *array) Size() ref.Val                               { return a.decoded().Size() }
func (a *array) IsZeroValue() bool                           { return a.Size() == types.IntZero }
func (a *array) Contains(v ref.Val) ref.Val                  { return a.decoded().Contains(v) }
func (a *array) Iterator() traits.Iterator                   { return a.decoded().Iterator() }
func (a *array) Add(other ref.Val) ref.Val                   { return a.decoded().Add(other) }
func (a *array) ConvertToNative(t reflect.Type) (any, error) { return a.decoded().ConvertToNative(t) }
func (a *array) ConvertToType(t ref.Type) ref.Val            { return a.decoded().ConvertToType(t) }
func (a *array) Type() ref.Type                              { return types.ListType }
func (a *array) Value() any                                  { return a.decoded().Value() }
func (a *array) String() string                              { return a.raw }

// Interface guards
var (
	_ traits.Mapper = (*object)(nil)
	_ traits.Zeroer = (*object)(nil)
	_ traits.Lister = (*array)(nil)
	_ traits.Zeroer = (*array)(nil)
)
