package parse

import "io"

// lineReader provides a line and an LF to a reader that is reused for the next line. The reader stops at the LF. It gets an EOF
// only if it expects more than the line.
type lineReader struct {
	line []byte
	read int
}

func (r *lineReader) reset(line []byte) { *r = lineReader{line: line} }

func (r *lineReader) Read(p []byte) (n int, err error) {
	if r.read > len(r.line) {
		return 0, io.EOF
	}
	n = copy(p, r.line[r.read:])
	if r.read += n; r.read == len(r.line) && n < len(p) {
		p[n] = '\n'
		n++
		r.read++
	}
	return n, nil
}
