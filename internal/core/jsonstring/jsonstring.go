// Package jsonstring writes JSON strings.
package jsonstring

// Append appends text as a JSON string (RFC 8259 §7), with its quotes. The text must be valid UTF-8. It has an escape only
// where JSON demands one, so it holds neither CR nor LF and fits into one line of an event.
//
// json.Marshal allocates, and escapes for HTML what is not in HTML.
func Append[T string | []byte](dst []byte, text T) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	plain := 0 // where the text begins that is not in dst yet
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[plain:i]...)
		plain = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, `\u00`...)
			dst = append(dst, hex[c>>4], hex[c&0xf])
		}
	}
	return append(append(dst, text[plain:]...), '"')
}
