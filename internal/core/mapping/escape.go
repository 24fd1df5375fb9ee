package mapping

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/jsonstring"
)

// escape says what a value is escaped for, as in {record.msg|html}.
type escape uint8

const (
	unescaped escape = iota
	forJSON
	forHTML
	forURL
)

var escapeNames = map[string]escape{"json": forJSON, "html": forHTML, "url": forURL}

// parseEscape returns the escape with this name.
func parseEscape(word string) (escape, error) {
	if e, ok := escapeNames[word]; ok {
		return e, nil
	}
	return unescaped, fmt.Errorf(`a value has no escape %q: write |json, |html or |url, or \| for a bar that belongs to the key`, word)
}

// cutEscape cuts the escape off the end of a placeholder's name.
func cutEscape(s string) (name string, e escape) {
	if i := strings.LastIndexByte(s, '|'); i >= 0 {
		if e, ok := escapeNames[s[i+1:]]; ok {
			return s[:i], e
		}
	}
	return s, unescaped
}

// closeEscape parses the bar at the beginning of s, the word after it, and the closing brace.
func closeEscape(s string) (e escape, rest string, err error) {
	word, rest, closed := strings.Cut(s[1:], "}")
	if opening := strings.IndexByte(word, '{'); opening >= 0 || !closed {
		return unescaped, "", fmt.Errorf("a placeholder is not closed: write a } after |json, |html or |url")
	}
	e, err = parseEscape(word)
	return e, rest, err
}

// appendText appends a text that is not JSON.
func appendText[T string | []byte](dst []byte, text T, e escape) []byte {
	switch e {
	case forJSON:
		return jsonstring.Append(dst, text)
	case forHTML:
		return appendHTML(dst, text)
	case forURL:
		return appendURL(dst, text)
	}
	return append(dst, text...)
}

// appendEscaped appends the escaped value of the part for r.
func (p *part) appendEscaped(dst []byte, in *paths, r *Document) []byte {
	switch p.kind {
	case recordPart:
		return appendText(dst, r.text, p.escape)
	case linePart:
		return appendText(dst, r.Line(), p.escape)
	case seqPart:
		return strconv.AppendUint(dst, r.seq, 10) // digits are safe everywhere
	case valuePart:
		value, found := r.find(in, p.node)
		switch {
		case found && p.escape == forJSON:
			return append(dst, value...)
		case found:
			return appendEscapedValue(dst, value, p.escape)
		case p.escape == forJSON:
			return append(dst, "null"...)
		}
		return dst
	}
	return append(dst, p.text...) // a placeholder that is not bound
}

// appendEscapedValue appends a JSON value as appendValue does, and escapes it.
func appendEscapedValue(dst []byte, value string, e escape) []byte {
	start := len(dst)
	dst = appendValue(dst, value)
	end := len(dst)
	dst = appendText(dst, dst[start:], e)    // after the plain text, so that no other buffer is needed;
	return append(dst[:start], dst[end:]...) // it then replaces the plain text
}

// appendHTML appends text that is safe in HTML, as the content of an element and as the value of an attribute in single or double
// quotes. It leaves no line breaks: Datastar reads an event's data line by line, and a line from a record could name another
// target.
//
// Attributes must have quotes. Without quotes, a space ends a value, and an empty value makes the next attribute the value, which
// no escape can prevent. So spaces, the most frequent of these characters, stay readable. But = and backticks are escaped: even
// without quotes, a record cannot give an attribute a value, and so cannot run a script.
//
// html.EscapeString and template.HTMLEscapeString leave these characters as they are, and html/template does not export its
// escaper for attributes without quotes. As in html/template, a NUL, which is no character of HTML, becomes U+FFFD. The
// references are those of html.EscapeString.
func appendHTML[T string | []byte](dst []byte, text T) []byte {
	plain := 0 // the start of the text that is not in dst yet
	for i := 0; i < len(text); i++ {
		var with string
		switch text[i] {
		case '&':
			with = "&amp;"
		case '<':
			with = "&lt;"
		case '>':
			with = "&gt;"
		case '"':
			with = "&#34;"
		case '\'':
			with = "&#39;"
		case '`':
			with = "&#96;"
		case '=':
			with = "&#61;"
		case '\n':
			with = "&#10;"
		case '\r':
			with = "&#13;"
		case 0:
			with = "\uFFFD"
		default:
			continue
		}
		dst = append(append(dst, text[plain:i]...), with...)
		plain = i + 1
	}
	return append(dst, text[plain:]...)
}

// appendURL percent-encodes all characters except the unreserved ones (RFC 3986 §2.3). So the text is one component of a URL,
// in any position. url.PathEscape does not escape some delimiters in a query. url.QueryEscape turns a space into a plus, which
// means a plus in a path.
func appendURL[T string | []byte](dst []byte, text T) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&0xf])
		}
	}
	return dst
}
