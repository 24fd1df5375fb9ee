package mapping

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// The functions in this file read JSON that has been validated before. gjson could do much of this, but not exactly (an index
// "01", a top-level string with a brace in it, a backslash in a path over an array), and not without an allocation where a key
// or a value has an escape. It also cannot find the values of several paths in the pass that validates the record.

// key is one step of a path: the name of a member. If the name is a canonical decimal, it is also the index of an element.
type key struct {
	name  string
	index int // -1: matches no element
}

func newKey(name string) key {
	n, err := strconv.Atoi(name)
	if err != nil || n < 0 || strconv.Itoa(n) != name {
		n = -1
	}
	return key{name: name, index: n}
}

// member finds a member by its name in the object at the beginning of s. It returns s from the beginning of the value, because
// not all callers need the end of the value.
func member(s, name string) (rest string, ok bool) {
	for i := next(s, 1); s[i] != '}'; {
		end := skipString(s, i)
		raw := s[i+1 : end-1]
		i = skipSpace(s, skipSpace(s, end)+1) // the colon
		if sameString(raw, name) {
			return s[i:], true
		}
		i = next(s, skipValue(s, i))
	}
	return "", false
}

// next moves from the end of one element or member to the beginning of the next one, or to the closing bracket.
func next(s string, i int) int {
	i = skipSpace(s, i)
	if s[i] == ',' {
		i = skipSpace(s, i+1)
	}
	return i
}

func skipSpace(s string, i int) int {
	for s[i] <= ' ' {
		i++
	}
	return i
}

// skipValue returns the end of the value that begins at i.
func skipValue(s string, i int) int {
	switch s[i] {
	case '"':
		return skipString(s, i)
	case '{', '[':
		// It is a loop, not a recursion, so that depth costs nothing.
		for depth := 0; ; {
			switch s[i] {
			case '"':
				i = skipString(s, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
	}
	for i < len(s) && s[i] > ' ' && s[i] != ',' && s[i] != '}' && s[i] != ']' {
		i++
	}
	return i
}

// skipString returns the index after the string whose opening quote is at i.
func skipString(s string, i int) int {
	for {
		i += 1 + strings.IndexByte(s[i+1:], '"')
		escapes := 0
		for s[i-1-escapes] == '\\' { // the opening quote ends this
			escapes++
		}
		if escapes%2 == 0 {
			return i + 1
		}
	}
}

// sameString reports whether raw, the text between the quotes of a JSON string, means text.
func sameString(raw, text string) bool {
	if len(raw) < len(text) {
		return false // an escape is never shorter than its character
	}
	if strings.IndexByte(raw, '\\') < 0 {
		return raw == text
	}
	var buf [64]byte
	return string(appendUnescaped(buf[:0], raw)) == text
}

// appendUnescaped appends the meaning of raw, the text between the quotes of a JSON string (RFC 8259 §7). A surrogate without its
// other half has no form in UTF-8, and becomes U+FFFD.
func appendUnescaped(dst []byte, raw string) []byte {
	for {
		i := strings.IndexByte(raw, '\\')
		if i < 0 {
			return append(dst, raw...)
		}
		dst = append(dst, raw[:i]...)
		c := raw[i+1]
		raw = raw[i+2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(raw)
			raw = raw[4:]
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if strings.HasPrefix(raw, `\u`) {
					low = hex4(raw[2:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					raw = raw[6:]
				}
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, c)
	}
}

func hex4(s string) (r rune) {
	for _, c := range []byte(s[:4]) {
		r <<= 4
		switch {
		case c <= '9':
			r |= rune(c - '0')
		default:
			r |= rune(c|0x20-'a') + 10
		}
	}
	return r
}
