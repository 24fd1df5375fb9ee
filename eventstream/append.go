package eventstream

import (
	"bytes"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// AppendID appends an id field. It appends nothing for an empty id. For an id that a client could not send back, it
// appends nothing and reports false.
func AppendID(dst, id []byte) ([]byte, bool) {
	if len(id) == 0 {
		return dst, true
	}
	if !comesBack(id) {
		return dst, false
	}
	dst = append(dst, "id: "...)
	dst = append(dst, id...)
	return append(dst, '\n'), true
}

// longestID is the most bytes that an id may have. Servers and proxies accept headers of little more.
const longestID = 8 << 10

// comesBack reports whether a client could send id back as a header's value. Such a value has no control characters,
// loses white space at its ends (RFC 9110 §5.5) and must have a size that servers accept. EndID is not for other events.
func comesBack(id []byte) bool {
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

// AppendType appends an event field. It appends nothing for an empty name. For a name that the field cannot carry, it
// appends nothing and reports false.
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
// line: a client would take the text after them for another field otherwise.
func AppendData(dst, data []byte) []byte {
	if bytes.IndexByte(data, '\n') < 0 && bytes.IndexByte(data, '\r') < 0 {
		return AppendDataLine(dst, data)
	}
	return appendDataLines(dst, data)
}

// AppendDataLine is AppendData for data that contains neither CR nor LF. It does not check that.
func AppendDataLine(dst, line []byte) []byte {
	if len(line) == 0 {
		return append(dst, "data:\n\n"...)
	}
	dst = append(dst, "data: "...)
	dst = append(dst, line...)
	return append(dst, "\n\n"...)
}

func appendDataLines(dst, data []byte) []byte {
	// Each of the two searches goes over the data once, however many line breaks there are of the other kind.
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

// AppendRetry appends a retry field, which sets the client's reconnection time in whole milliseconds. The field counts at
// once, wherever it stands (WHATWG HTML §9.2.6). No blank line follows it: several clients would take that for an event.
func AppendRetry(dst []byte, d time.Duration) []byte {
	dst = append(dst, "retry: "...)
	dst = strconv.AppendInt(dst, max(d.Milliseconds(), 0), 10)
	return append(dst, '\n')
}

// Comment keeps a connection alive without the client's page noticing (WHATWG HTML §9.2.7). No blank line follows it:
// several clients would take that for an event.
const Comment = ":\n"
