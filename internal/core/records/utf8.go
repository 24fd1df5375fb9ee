package records

import "unicode/utf8"

// validLen returns the number of valid UTF-8 bytes at the start of p, and the number of invalid bytes after them that one U+FFFD
// replaces. The latter are a maximal subpart of an ill-formed sequence, as in WHATWG Encoding §8.1.1; utf8.DecodeRune would count
// single bytes. bad is 0 if p ends after the valid bytes, or with the beginning of a character.
func validLen(p []byte) (valid, bad int) {
	whole := len(p) - cutOffLen(p)
	if utf8.Valid(p[:whole]) { // true for nearly all texts, and far faster than the loop
		return whole, 0
	}
	for {
		r, size := utf8.DecodeRune(p[valid:])
		if r == utf8.RuneError && size == 1 {
			return valid, subpartLen(p[valid:])
		}
		valid += size
	}
}

// cutOffLen returns the number of bytes at the end of p that begin a character without completing it.
func cutOffLen(p []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if tail := p[len(p)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}

// subpartLen returns the length of the maximal subpart at the start of the ill-formed p, or 0 if p is only incomplete.
func subpartLen(p []byte) int {
	if !utf8.FullRune(p) {
		return 0
	}
	n := 1
	for !utf8.FullRune(p[:n]) {
		n++
	}
	return max(n-1, 1)
}

// cut returns at most n bytes of the valid UTF-8 text. It cuts at a character boundary.
func cut(text []byte, n int) []byte {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
