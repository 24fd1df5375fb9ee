package eventstream

import (
	"bytes"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// AppendID appends an id field. For an empty id, it appends nothing and reports true. For an id that a client could not
// send back, it appends nothing and reports false.
func AppendID(dst, id []byte) ([]byte, bool) {
	if len(id) == 0 {
		return dst, true
	}
	if !canBeSentBack(id) {
		return dst, false
	}
	dst = append(dst, "id: "...)
	dst = append(dst, id...)
	return append(dst, '\n'), true
}

// longestID is the longest id, in bytes. Many servers and proxies refuse headers that are not much longer.
const longestID = 8 << 10

// canBeSentBack reports whether a client could send the id in a Last-Event-ID header. A header's value has no control
// characters, loses white space at its ends (RFC 9110 §5.5), and must not be longer than servers accept. EndID is reserved.
func canBeSentBack(id []byte) bool {
	if len(id) > longestID {
		return false
	}
	for i, c := range id {
		if c < ' ' || c == 0x7f || c == 0xc2 && i+1 < len(id) && id[i+1] < 0xa0 { // U+0080 to U+009F
			return false
		}
	}
	first, _ := utf8.DecodeRune(id)
	last, _ := utf8.DecodeLastRune(id)
	return !unicode.IsSpace(first) && !unicode.IsSpace(last) && string(id) != EndID
}

// AppendType appends an event field. For an empty name, it appends nothing and reports true. For a name with a line break,
// it appends nothing and reports false.
func AppendType(dst, name []byte) ([]byte, bool) {
	return appendField(dst, "event: ", name)
}

func appendField(dst []byte, name string, value []byte) ([]byte, bool) {
	if len(value) == 0 {
		return dst, true
	}
	if bytes.IndexByte(value, '\n') >= 0 || bytes.IndexByte(value, '\r') >= 0 {
		return dst, false
	}
	dst = append(dst, name...)
	dst = append(dst, value...)
	return append(dst, '\n'), true
}

// AppendData appends the data lines and the blank line that ends the event. LF, CR and CRLF in data each start a new data
// line. Otherwise a client would take the text after them for another field.
func AppendData(dst, data []byte) []byte {
	if bytes.IndexByte(data, '\n') < 0 && bytes.IndexByte(data, '\r') < 0 {
		return AppendDataLine(dst, data)
	}
	return appendDataLines(dst, data)
}

// AppendDataLine is AppendData for data without CR and LF. It does not check the data.
func AppendDataLine(dst, line []byte) []byte {
	if len(line) == 0 {
		return append(dst, "data:\n\n"...)
	}
	dst = append(dst, "data: "...)
	dst = append(dst, line...)
	return append(dst, "\n\n"...)
}

func appendDataLines(dst, data []byte) []byte {
	// LF and CR are searched for separately. Each search passes over the data once, even if there are many line breaks of
	// the other kind.
	lf, cr := bytes.IndexByte(data, '\n'), bytes.IndexByte(data, '\r')
	for pos := 0; ; {
		end := len(data)
		if lf >= 0 {
			end = lf
		}
		if cr >= 0 && cr < end {
			end = cr
		}
		dst = append(dst, "data:"...)
		if end > pos {
			dst = append(dst, ' ')
			dst = append(dst, data[pos:end]...)
		}
		dst = append(dst, '\n')
		if end == len(data) {
			return append(dst, '\n')
		}
		pos = end + 1
		if end == cr && pos == lf {
			pos++
		}
		if lf >= 0 && lf < pos {
			lf = indexByteFrom(data, '\n', pos)
		}
		if cr >= 0 && cr < pos {
			cr = indexByteFrom(data, '\r', pos)
		}
	}
}

func indexByteFrom(b []byte, c byte, from int) int {
	if i := bytes.IndexByte(b[from:], c); i >= 0 {
		return from + i
	}
	return -1
}

// AppendRetry appends a retry field, which sets the client's reconnection time in whole milliseconds. A negative d counts as
// 0. The client applies the field as soon as it has read its line (WHATWG HTML §9.2.6). AppendRetry appends no blank line,
// because several clients would take it for an event.
func AppendRetry(dst []byte, d time.Duration) []byte {
	dst = append(dst, "retry: "...)
	dst = strconv.AppendInt(dst, max(d.Milliseconds(), 0), 10)
	return append(dst, '\n')
}

// Comment is an empty comment. It keeps a connection alive, and the client ignores it (WHATWG HTML §9.2.7). It has no blank
// line, because several clients would take it for an event.
const Comment = ":\n"
