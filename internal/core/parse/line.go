package parse

import "io"

// lineReader gives a line and its LF to a reader that lives on from line to line. Such a reader stops at the LF, and comes
// to the end only where a line is not whole.
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
