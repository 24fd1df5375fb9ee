package accept

import "strings"

// Identity is the coding that is none (RFC 9110 §12.5.3).
const Identity = "identity"

// Coding returns the content coding in offered with the highest weight in the values of the Accept-Encoding header field, the
// first of them where weights are equal. It returns Identity if the client accepts none, or prefers to get none. Without a
// header field any coding would do (RFC 9110 §12.5.3), but a client that can decode one says so.
//
// A client that accepts none of them and refuses Identity too gets that all the same: a response in the wrong coding is of
// more use to it than none.
func Coding(acceptEncoding []string, offered []string) string {
	best, highest := Identity, max(codingWeight(acceptEncoding, Identity), 1)
	for _, coding := range offered {
		w := codingWeight(acceptEncoding, coding)
		if w > highest || w == highest && best == Identity {
			best, highest = coding, w
		}
	}
	return best
}

// codingWeight returns the weight of a coding: its own, or else that of the wildcard. It is the highest where it has several,
// and 0 where it has none.
func codingWeight(acceptEncoding []string, coding string) (weight int) {
	named := false
	for _, line := range acceptEncoding {
		for line != "" {
			var element string
			element, line = cutElement(line)
			name, w, ok := parseCoding(element)
			switch {
			case !ok:
			case strings.EqualFold(name, coding), coding == "gzip" && strings.EqualFold(name, "x-gzip"): // RFC 9110 §8.4.1.3
				if !named || w > weight {
					named, weight = true, w
				}
			case name == "*" && !named:
				weight = max(weight, w)
			}
		}
	}
	return weight
}

// parseCoding reads codings [ weight ] of RFC 9110 §12.5.3.
func parseCoding(element string) (name string, weight int, ok bool) {
	name, rest := cutToken(element)
	rest = strings.TrimLeft(rest, " \t")
	if name == "" || rest == "" {
		return name, 1000, name != ""
	}
	rest, ok = strings.CutPrefix(rest, ";")
	rest = strings.TrimLeft(rest, " \t")
	if !ok || len(rest) < 2 || !strings.EqualFold(rest[:2], "q=") {
		return "", 0, false
	}
	weight, ok = parseWeight(rest[2:])
	return name, weight, ok
}
