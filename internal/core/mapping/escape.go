package mapping

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/jsonstring"
)

// escape says for which place a value is escaped: {record.msg|html}.
type escape uint8

const (
	unescaped escape = iota
	forJSON
	forHTML
	forURL
)

var escapeNames = map[string]escape{"json": forJSON, "html": forHTML, "url": forURL}

// parseEscape returns the escape that the word after a bar names.
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

// closeEscape parses the bar that s begins with, the word after it and the closing brace.
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

// appendEscaped appends what the part makes of r, escaped.
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
	return append(dst, p.text...) // a name that is not bound
}

// appendEscapedValue appends a JSON value as appendValue does, and escapes it.
func appendEscapedValue(dst []byte, value string, e escape) []byte {
	start := len(dst)
	dst = appendValue(dst, value)
	end := len(dst)
	dst = appendText(dst, dst[start:], e)    // behind the plain text, so that no other memory is needed,
	return append(dst[:start], dst[end:]...) // and then in its place
}

// appendHTML appends text that is safe in HTML, as the content of an element and as the value of an attribute in quotes of
// either kind. No line breaks are left in it: Datastar reads an event's data line by line, and a line of a record's own
// could name another target.
//
// Attributes need their quotes. A blank ends a value without them, and no escape saves a value that is empty: the next
// attribute becomes the value. So blanks, which are most of what texts have to escape, stay readable. An equals sign and
// a backtick are escaped all the same: no record can give an attribute a value, and so none runs a script.
//
// html.EscapeString, and html/template's HTMLEscapeString beside it, leave all these as they are, and html/template does
// not export its escaper for attributes without quotes. As html/template does, this one makes a NUL, which is not a
// character of HTML, U+FFFD. Its references are those of html.EscapeString.
func appendHTML[T string | []byte](dst []byte, text T) []byte {
	plain := 0 // where the text begins that is not in dst yet
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

// appendURL percent-encodes all but the unreserved characters (RFC 3986 §2.3), so that text is one component of a URL
// wherever it stands. url.PathEscape leaves characters that divide a query, and url.QueryEscape makes a space a plus,
// which is a plus in a path.
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
