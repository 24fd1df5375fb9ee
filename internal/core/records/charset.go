package records

import (
	"fmt"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
)

// Charset is a character encoding that bytes are decoded from. A nil Charset
// is UTF-8. A Charset may be used by many streams at once.
type Charset struct {
	name     string            // canonical, WHATWG Encoding §4.2
	encoding encoding.Encoding // nil for UTF-8, which needs no transformation
}

var utf8Charset = &Charset{name: "utf-8"}

// UTF-16 is what a byte order mark turns into the one or the other.
var (
	utf16LE = mustLookup("utf-16le")
	utf16BE = mustLookup("utf-16be")
)

// LookupCharset returns the charset of that name or label, WHATWG Encoding
// §4.2, in any case; an empty name is UTF-8.
func LookupCharset(name string) (*Charset, error) {
	if name == "" {
		return utf8Charset, nil
	}
	enc, err := htmlindex.Get(name)
	if err != nil {
		return nil, fmt.Errorf("unknown charset %q: use a name of the WHATWG Encoding Standard, such as utf-8, windows-1252 or shift_jis", name)
	}
	canonical, err := htmlindex.Name(enc)
	if err != nil {
		return nil, fmt.Errorf("charset %q: %w", name, err)
	}
	switch canonical {
	case "utf-8":
		return utf8Charset, nil
	case "replacement":
		// It stands for charsets that are unsafe to decode; its decoder
		// answers any input with a single U+FFFD.
		return nil, fmt.Errorf("charset %q cannot be decoded: let the upstream send utf-8", name)
	}
	return &Charset{name: canonical, encoding: enc}, nil
}

func mustLookup(name string) *Charset {
	c, err := LookupCharset(name)
	if err != nil {
		panic(err)
	}
	return c
}

// CharsetOf returns the charset that the parameter of a Content-Type names;
// UTF-8 if it names none, or one that is not known.
//
// mime.ParseMediaType is too strict here: one malformed parameter hides all
// others from it.
func CharsetOf(contentType string) *Charset {
	_, params, _ := strings.Cut(contentType, ";")
	for param := range strings.SplitSeq(params, ";") {
		key, value, _ := strings.Cut(param, "=")
		if strings.EqualFold(strings.TrimSpace(key), "charset") {
			c, err := LookupCharset(strings.Trim(value, " \t\"'"))
			if err != nil {
				return utf8Charset
			}
			return c
		}
	}
	return utf8Charset
}

// String returns the charset's canonical name.
func (c *Charset) String() string {
	if c == nil {
		return utf8Charset.name
	}
	return c.name
}

func (c *Charset) isUTF8() bool { return c == nil || c.encoding == nil }

func (c *Charset) isUTF16() bool {
	return c != nil && (c.name == utf16LE.name || c.name == utf16BE.name)
}
