package mapping

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Template is text with placeholders: {record}, {record.path}, {line}, {seq}, and names whose values Bind looks up. Each can
// have an escape: {record.path|html}. A Template does not change after ParseTemplate. Many goroutines may use it at the same
// time.
type Template struct {
	source string
	parts  []part
	paths  *paths // the paths in all templates of the mapping
}

type part struct {
	kind   kind
	escape escape
	text   string // textPart: the text; namePart: the placeholder as written, with its braces
	node   int    // valuePart: the node in the template's paths
}

type kind uint8

const (
	textPart   kind = iota
	namePart        // a placeholder that is not bound yet
	recordPart      // {record}
	valuePart       // {record.path}
	linePart        // {line}
	seqPart         // {seq}
)

// ParseTemplate parses the text of a template.
//
// A placeholder extends from a { to the next }. If another { comes first, the former is text. In a path, a dot separates keys,
// and a bar comes before the escape. \. \| \\ \{ and \} stand for the characters themselves. Outside of placeholders, \{ and
// \} are literal braces, as everywhere in Caddy. An error says what to change.
func ParseTemplate(s string) (*Template, error) { return parseTemplate(s, new(paths)) }

// parseTemplate is ParseTemplate for one of several templates over the same records. It adds its paths to in.
func parseTemplate(s string, in *paths) (*Template, error) {
	t := &Template{source: s, paths: in}
	text := 0 // the start of the text that is not in parts yet
	for i := 0; i < len(s); {
		if s[i] == '\\' && i+1 < len(s) && (s[i+1] == '{' || s[i+1] == '}') {
			t.addText(s[text:i])
			text = i + 1
			i += 2
			continue
		}
		if s[i] != '{' {
			i++
			continue
		}
		p, size, err := t.parsePlaceholder(s[i:])
		if err != nil {
			return nil, fmt.Errorf("template %q: %w", s, err)
		}
		if size == 0 {
			i++
			continue
		}
		t.addText(s[text:i])
		t.parts = append(t.parts, p)
		i += size
		text = i
	}
	t.addText(s[text:])
	return t, nil
}

// parsePlaceholder parses the placeholder at the beginning of s. If size is 0, the brace there is text.
func (t *Template) parsePlaceholder(s string) (p part, size int, err error) {
	inside := s[1:]
	for _, own := range []struct {
		word string
		kind kind
	}{{"record", recordPart}, {"line", linePart}, {"seq", seqPart}} {
		after, ok := cutWord(inside, own.word)
		if !ok {
			continue
		}
		p, rest := part{kind: own.kind}, ""
		switch {
		case strings.HasPrefix(after, "}"):
			return p, len("{}") + len(own.word), nil
		case strings.HasPrefix(after, "|"):
			p.escape, rest, err = closeEscape(after)
			return p, len(s) - len(rest), err
		case strings.HasPrefix(after, ".") && own.kind == recordPart:
			p.kind = valuePart
			var path []key
			if path, p.escape, rest, err = parsePath(after[1:]); err == nil {
				p.node = t.paths.add(path)
			}
			return p, len(s) - len(rest), err
		}
		if err := closed(after, "{"+own.word+"}"); err != nil {
			return part{}, 0, err
		}
	}
	end := strings.IndexAny(inside, "{}")
	if end < 0 || inside[end] == '{' || !isName(inside[:end]) {
		return part{}, 0, nil
	}
	p = part{kind: namePart, text: s[:1+end+1]}
	_, p.escape = cutEscape(inside[:end])
	return p, len(p.text), nil
}

// cutWord cuts word off the beginning of s, unless s begins with a longer word.
func cutWord(s, word string) (after string, ok bool) {
	after, ok = strings.CutPrefix(s, word)
	return after, ok && (after == "" || !isWord(after[0]))
}

// closed returns an error if one of our placeholders is not closed. If it were taken for text, that would surprise the user at
// run time.
func closed(after, want string) error {
	if end := strings.IndexAny(after, "{}"); end < 0 || after[end] == '{' {
		return fmt.Errorf("a placeholder is not closed: write %s, or \\{ for a brace that is text", want)
	}
	return nil
}

// parsePath parses the path at the beginning of s and its escape, up to the closing brace.
func parsePath(s string) (path []key, e escape, rest string, err error) {
	var name []byte
	for i := 0; i < len(s) && s[i] != '{'; i++ {
		switch c := s[i]; c {
		case '\\':
			if i++; i == len(s) || strings.IndexByte(`.|\{}`, s[i]) < 0 {
				return nil, 0, "", fmt.Errorf(`after {record.%s only one of . | \ { } can follow: write \\ for a backslash that belongs to the key`, s[:i])
			}
			name = append(name, s[i])
		case '.', '|', '}':
			if len(name) == 0 {
				return nil, 0, "", fmt.Errorf(`{record.%s has an empty key: write keys with one dot between them, and \. for a dot that belongs to a key`, s[:i+1])
			}
			path = append(path, newKey(string(name)))
			name = name[:0]
			switch c {
			case '}':
				return path, unescaped, s[i+1:], nil
			case '|':
				e, rest, err = closeEscape(s[i:])
				return path, e, rest, err
			}
		default:
			name = append(name, c)
		}
	}
	s, _, _ = strings.Cut(s, "{")
	return nil, 0, "", fmt.Errorf("{record.%s is not closed: write a } after the path", s)
}

// isName reports whether the text in braces can be the name of a placeholder.
func isName(s string) bool {
	if s == "" || strings.ContainsAny(s, "\"'`\r\n{}") {
		return false
	}
	c := s[0] | 0x20
	return c >= 'a' && c <= 'z' || s[0] == '_' || s[0] == '$'
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// addText appends text. It extends the last part if that is text.
func (t *Template) addText(s string) {
	if s == "" {
		return
	}
	if n := len(t.parts); n > 0 && t.parts[n-1].kind == textPart {
		t.parts[n-1].text += s
		return
	}
	t.parts = append(t.parts, part{kind: textPart, text: s})
}

// Placeholders returns the names of the placeholders that are not bound yet, without braces and escapes. {record}, {line} and
// {seq} are not among them.
func (t *Template) Placeholders() []string {
	var names []string
	for _, p := range t.parts {
		if name := p.name(); p.kind == namePart && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (p part) name() string {
	name, _ := cutEscape(strings.Trim(p.text, "{}"))
	return name
}

// Bind returns the template with the values of the placeholders that lookup knows. A value is text and is never expanded again.
// Other placeholders stay as written, and another Bind may know them.
func (t *Template) Bind(lookup func(name string) (value string, known bool)) *Template {
	if !t.has(namePart) {
		return t
	}
	bound := &Template{source: t.source, paths: t.paths, parts: make([]part, 0, len(t.parts))}
	for _, p := range t.parts {
		if p.kind == namePart {
			if value, known := lookup(p.name()); known {
				bound.addText(string(appendText(nil, value, p.escape)))
				continue
			}
		}
		if p.kind == textPart {
			bound.addText(p.text)
			continue
		}
		bound.parts = append(bound.parts, p)
	}
	return bound
}

// Append appends the text that the template makes from r. It allocates only to grow dst.
func (t *Template) Append(dst []byte, r *Document) []byte {
	for i := range t.parts {
		p := &t.parts[i]
		if p.escape != unescaped {
			dst = p.appendEscaped(dst, t.paths, r)
			continue
		}
		switch p.kind {
		case recordPart:
			dst = append(dst, r.text...)
		case linePart:
			dst = append(dst, r.Line()...)
		case valuePart:
			if value, ok := r.find(t.paths, p.node); ok {
				dst = appendValue(dst, value)
			}
		case seqPart:
			dst = strconv.AppendUint(dst, r.seq, 10)
		default:
			dst = append(dst, p.text...)
		}
	}
	return dst
}

// appendValue appends a JSON value: a string without its escapes, null as nothing, and others as they are.
func appendValue(dst []byte, value string) []byte {
	switch value[0] {
	case '"':
		return appendUnescaped(dst, value[1:len(value)-1])
	case 'n':
		return dst
	}
	return append(dst, value...)
}

// IsRecord reports whether the template is exactly {record}.
func (t *Template) IsRecord() bool {
	return len(t.parts) == 1 && t.parts[0].kind == recordPart && t.parts[0].escape == unescaped
}

// UsesRecord reports whether the template has {record}, {record.path}, {line} or {seq}. Otherwise, once it is bound, its text
// is the same for all records.
func (t *Template) UsesRecord() bool {
	return t.has(recordPart) || t.has(valuePart) || t.has(linePart) || t.has(seqPart)
}

// NeedsJSON reports whether the template has {record.path}.
func (t *Template) NeedsJSON() bool { return t.has(valuePart) }

func (t *Template) has(k kind) bool {
	return slices.ContainsFunc(t.parts, func(p part) bool { return p.kind == k })
}

// String returns the template as it was written.
func (t *Template) String() string { return t.source }
