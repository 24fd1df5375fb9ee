package accept

import "strings"

// Identity is the name for no coding (RFC 9110 §12.5.3).
const Identity = "identity"

// Coding returns the offered content coding that has the highest weight in the values of the Accept-Encoding header field. If
// several have the same weight, it returns the first of them. It returns Identity if the client accepts none of them, or
// prefers Identity. Without a header field, any coding would be allowed (RFC 9110 §12.5.3). Coding returns Identity then,
// because a client that can decode a coding says so.
//
// It also returns Identity to a client that refuses Identity and all offered codings: a response in a coding that the client
// does not want is better than none.
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

// codingWeight returns the weight of a coding, or that of the wildcard if the coding is not listed. Of several weights, the
// highest counts. The weight is 0 if there is none.
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

// parseCoding parses codings [ weight ] (RFC 9110 §12.5.3).
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
