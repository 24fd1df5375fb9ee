// Package accept weighs a media type against a client's Accept header field (RFC 9110 §12.5.1).
//
// An element that is not a valid media range with an optional weight is ignored, as is one whose q is not a qvalue:
// neither guessed at nor a reason to refuse the rest. A header field in which nothing valid names a media type
// therefore accepts nothing.
package accept

import "strings"

// How closely a media range describes a media type; the closest range decides (RFC 9110 §12.5.1). A range with
// parameters is one step closer than the same range without.
const (
	anyType    = 1 // */*
	anySubtype = 3 // type/*
	byName     = 5 // type/subtype
)

// Quality returns the weight, 0 (refused) to 1000 (RFC 9110 §12.4.2's 1.000), that the values of the Accept header field
// give to mediaType, a "type/subtype" without parameters: that of the most specific range that matches, the highest
// where equally specific ones differ, 0 where none matches. No header field, or one that lists nothing, accepts
// everything: 1000.
//
// A range with parameters ("text/event-stream;charset=utf-8") matches by its type and subtype alone.
func Quality(accept []string, mediaType string) int {
	weight, listed := weigh(accept, mediaType, anyType)
	if !listed {
		return 1000
	}
	return weight
}

// Named is Quality with the wildcard ranges left out: 0 if mediaType is not listed by its name, and so without a header
// field too.
func Named(accept []string, mediaType string) int {
	weight, _ := weigh(accept, mediaType, byName)
	return weight
}

// weigh finds the weight of the closest range that is at least as close as atLeast. listed tells whether accept has any
// element at all, a malformed one included.
func weigh(accept []string, mediaType string, atLeast int) (weight int, listed bool) {
	closest := 0
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
			c := r.closeness(mediaType)
			if c < atLeast || c < closest {
				continue
			}
			if c > closest || r.weight > weight {
				closest, weight = c, r.weight
			}
		}
	}
	return weight, listed
}

// A mediaRange is one element of the list; a wildcard is "*" and "*", or a type and "*".
type mediaRange struct {
	typ, subtype string
	parameters   bool // others than the weight
	weight       int
}

// closeness is 0 if r does not match mediaType. One with parameters is taken to, as clients mean no other type by
// text/event-stream;charset=utf-8; but to refuse that is not to refuse the type.
func (r mediaRange) closeness(mediaType string) int {
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

// parseRange reads media-range [ weight ] of RFC 9110 §12.5.1. As that section advises, a parameter named q is the weight
// wherever it stands; a second one is an error.
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
			continue // RFC 9110 §5.6.6 lets a parameter be empty
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

// cutElement takes the first element off a comma-separated list and trims it. A comma in a quoted-string separates
// nothing; a quoted-string that never ends takes the rest of the list with it.
func cutElement(list string) (element, rest string) {
	for i := 0; i < len(list); i++ {
		switch list[i] {
		case ',':
			return strings.Trim(list[:i], " \t"), list[i+1:]
		case '"':
			// Only a parameter's value can be quoted: a quote elsewhere spoils its own element, not its neighbours.
			if i > 0 && list[i-1] == '=' {
				n, _ := quotedLen(list[i:])
				i += n - 1
			}
		}
	}
	return strings.Trim(list, " \t"), ""
}

// cutParameter takes token "=" ( token / quoted-string ) off s (RFC 9110 §5.6.6). The value keeps its quotes, so that
// a quoted q, which the grammar does not have, is not taken for a weight.
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

// quotedLen is the length of the quoted-string that s begins with, all of s if it is never closed.
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

// cutToken takes a token off s (RFC 9110 §5.6.2), an empty one if s begins with something else.
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

// parseWeight reads a qvalue (RFC 9110 §12.4.2), in thousandths: 0 or 1, and up to three decimals, which after a 1 are
// zeros.
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
