// Package accept finds the weight of a media type in a client's Accept header field, and of a coding in Accept-Encoding
// (RFC 9110 §12.5).
//
// It ignores invalid elements, and uses the others. So a header field that has only invalid elements accepts nothing.
// The libraries do less: goautoneg, for example, splits at a comma within quotes.
package accept

import "strings"

// How specific a media range is. The most specific range that matches decides (RFC 9110 §12.5.1). Parameters make a range
// one step more specific.
const (
	anyType    = 1 // */*
	anySubtype = 3 // type/*
	byName     = 5 // type/subtype
)

// Quality returns the weight of mediaType in the values of the Accept header field, from 0 (refused) to 1000 (the 1.000 of RFC
// 9110 §12.4.2). mediaType is a "type/subtype" without parameters. The most specific range that matches gives the weight. Of
// equally specific ranges, the highest weight counts. The weight is 0 if no range matches, and 1000 if there is no header
// field or an empty one.
//
// Parameters of a range ("text/event-stream;charset=utf-8") need not match.
func Quality(accept []string, mediaType string) int {
	weight, listed := weigh(accept, mediaType, anyType)
	if !listed {
		return 1000
	}
	return weight
}

// Named is Quality without the wildcard ranges. It returns 0 if accept does not list mediaType by its name, and so also without
// a header field.
func Named(accept []string, mediaType string) int {
	weight, _ := weigh(accept, mediaType, byName)
	return weight
}

// weigh returns the weight in the most specific range that matches, among those that are at least as specific as atLeast.
// listed reports whether accept has any element, even an invalid one.
func weigh(accept []string, mediaType string, atLeast int) (weight int, listed bool) {
	best := 0
	for _, line := range accept {
		for line != "" {
			var element string
			element, line = cutElement(line)
			if element == "" {
				continue // RFC 9110 §5.6.1.2: recipients ignore empty list elements
			}
			listed = true
			r, ok := parseRange(element)
			if !ok {
				continue
			}
			c := r.specificity(mediaType)
			if c < atLeast || c < best {
				continue
			}
			if c > best || r.weight > weight {
				best, weight = c, r.weight
			}
		}
	}
	return weight, listed
}

// mediaRange is an element of the list. The wildcards are "*" with "*", and a type with "*".
type mediaRange struct {
	typ, subtype string
	parameters   bool // it has parameters other than the weight
	weight       int
}

// specificity returns 0 if r does not match mediaType. Parameters need not match, because a client that asks for
// text/event-stream;charset=utf-8 means no other type. But a client that refuses a range with parameters does not refuse the
// type.
func (r mediaRange) specificity(mediaType string) int {
	if r.parameters && r.weight == 0 {
		return 0
	}
	typ, subtype, _ := strings.Cut(mediaType, "/")
	var c int
	switch {
	case r.typ == "*":
		c = anyType
	case !strings.EqualFold(r.typ, typ):
		return 0
	case r.subtype == "*":
		c = anySubtype
	case !strings.EqualFold(r.subtype, subtype):
		return 0
	default:
		c = byName
	}
	if r.parameters {
		c++
	}
	return c
}

// parseRange parses media-range [ weight ] (RFC 9110 §12.5.1). As that section advises, a parameter named q is the weight,
// wherever it stands. A second q is an error.
func parseRange(element string) (r mediaRange, ok bool) {
	r.weight = 1000
	s := element
	r.typ, s = cutToken(s)
	if after, found := strings.CutPrefix(s, "/"); found {
		r.subtype, s = cutToken(after)
	} else if r.typ == "*" {
		r.subtype = "*" // java.net.HttpURLConnection sends a lone "*", meaning */*
	}
	if r.typ == "" || r.subtype == "" || r.typ == "*" && r.subtype != "*" {
		return r, false
	}

	weighted := false
	for {
		s = strings.TrimLeft(s, " \t")
		if s == "" {
			return r, true
		}
		if s[0] != ';' {
			return r, false
		}
		s = strings.TrimLeft(s[1:], " \t")
		if s == "" || s[0] == ';' {
			continue // a parameter may be empty (RFC 9110 §5.6.6)
		}
		var name, value string
		if name, value, s, ok = cutParameter(s); !ok {
			return r, false
		}
		if !strings.EqualFold(name, "q") {
			r.parameters = true
			continue
		}
		if weighted {
			return r, false
		}
		weighted = true
		if r.weight, ok = parseWeight(value); !ok {
			return r, false
		}
	}
}

// cutElement cuts the first element off a comma-separated list, and trims it. A comma in a quoted string is part of the
// element. A quoted string that is never closed extends to the end of the list.
func cutElement(list string) (element, rest string) {
	for i := 0; i < len(list); i++ {
		switch list[i] {
		case ',':
			return strings.Trim(list[:i], " \t"), list[i+1:]
		case '"':
			// Only the value of a parameter can be quoted. A quote elsewhere makes its own element invalid, not the others.
			if i > 0 && list[i-1] == '=' {
				n, _ := quotedLen(list[i:])
				i += n - 1
			}
		}
	}
	return strings.Trim(list, " \t"), ""
}

// cutParameter cuts token "=" ( token / quoted-string ) off s (RFC 9110 §5.6.6). The value keeps its quotes, so that a quoted q
// is not taken for a weight: a weight has no quotes.
func cutParameter(s string) (name, value, rest string, ok bool) {
	name, s = cutToken(s)
	s, ok = strings.CutPrefix(s, "=")
	if name == "" || !ok || s == "" {
		return "", "", "", false
	}
	if s[0] != '"' {
		value, rest = cutToken(s)
		return name, value, rest, value != ""
	}
	n, closed := quotedLen(s)
	return name, s[:n], s[n:], closed
}

// quotedLen returns the length of the quoted string at the beginning of s, or that of s if the string is never closed.
func quotedLen(s string) (n int, closed bool) {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1, true
		}
	}
	return len(s), false
}

// cutToken cuts a token off s (RFC 9110 §5.6.2). The token is empty if s begins with something else.
func cutToken(s string) (token, rest string) {
	i := 0
	for i < len(s) && isTokenChar(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

func isTokenChar(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// parseWeight parses a qvalue (RFC 9110 §12.4.2) and returns it in thousandths. A qvalue is 0 or 1 with up to three decimals.
// After a 1, they must be zeros.
func parseWeight(s string) (weight int, ok bool) {
	whole, decimals, point := strings.Cut(s, ".")
	if whole != "0" && whole != "1" || len(decimals) > 3 {
		return 0, false
	}
	weight = int(whole[0]-'0') * 1000
	for i, unit := 0, 100; point && i < len(decimals); i, unit = i+1, unit/10 {
		if decimals[i] < '0' || decimals[i] > '9' {
			return 0, false
		}
		weight += int(decimals[i]-'0') * unit
	}
	return weight, weight <= 1000
}
