package backend

import "io"

// ReadSize is how many bytes to read from a socket or a pipe at once, for [Copy]: as many as Linux keeps in a pipe.
const ReadSize = 64 << 10

// Copy copies from r to an input. It returns nil when r ends, or else the error of r or of the input. Each Read becomes
// one Write at once, unlike with io.Copy, which leaves that to r or to the input if they can copy. The buffer starts
// small and grows to most bytes as r fills it, so thousands of quiet upstreams need little memory.
//
// Copy does not notice that a context ends: close r then, by context.AfterFunc, for instance.
func Copy(to io.Writer, r io.Reader, most int) error {
	for buf := make([]byte, min(4<<10, most)); ; {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if n == len(buf) && n < most {
			buf = make([]byte, min(4*n, most))
		}
	}
}

// Writer is a writer for [Copy] that remembers the error of the input. If Copy returns an error and Err is nil, the
// reader has failed. Otherwise nobody wants more bytes.
type Writer struct {
	To  io.Writer // the input
	Err error     // from the last Write
}

// Write writes p to the input.
func (w *Writer) Write(p []byte) (int, error) {
	var n int
	n, w.Err = w.To.Write(p)
	return n, w.Err
}
