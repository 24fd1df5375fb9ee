// Package jsonstring writes JSON strings.
package jsonstring

// Append appends text as a JSON string (RFC 8259 §7), with quotes. The text must be valid UTF-8. Append escapes only the
// characters that JSON requires to be escaped. The result has neither CR nor LF, so it fits into one data line.
//
// json.Marshal would allocate, and escape <, > and &.
func Append[T string | []byte](dst []byte, text T) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	plain := 0 // the start of the text that is not in dst yet
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
