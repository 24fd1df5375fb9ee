package records

import (
	"fmt"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
)

// Charset is a character encoding that bytes are decoded from. A nil Charset is UTF-8. Many goroutines may use a Charset at the
// same time.
type Charset struct {
	name     string            // canonical, WHATWG Encoding §4.2
	encoding encoding.Encoding // nil for UTF-8, which needs no transformation
}

var utf8Charset = &Charset{name: "utf-8"}

// The charsets that a byte order mark of UTF-16 can select.
var (
	utf16LE = mustLookup("utf-16le")
	utf16BE = mustLookup("utf-16be")
)

// LookupCharset returns the charset with this name or label (WHATWG Encoding §4.2), in upper or lower case. An empty name means
// UTF-8.
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
		// This encoding stands for charsets that are unsafe to decode. It decodes any input to a single U+FFFD.
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

// CharsetOf returns the charset that a Content-Type names. It returns UTF-8 if it names none, or one that is unknown.
//
// mime.ParseMediaType is too strict here: it rejects all parameters if one is malformed.
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
