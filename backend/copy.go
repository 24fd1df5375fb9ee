package backend

import "io"

// ReadSize is how much to read from a socket or a pipe at once: as much as Linux keeps in a pipe.
const ReadSize = 64 << 10

// Copy copies from r to an input until r ends, which is nil, or either fails. Its buffer starts small and grows up to
// most bytes when r fills it, so that thousands of quiet upstreams need little memory. Unlike io.Copy, it never hands
// the copying to r or to: each read becomes one Write at once.
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

// Writer remembers the error of an input that bytes are copied to. It tells an input that wants no more from a reader
// that has failed.
type Writer struct {
	To  io.Writer
	Err error // from the last Write
}

// Write passes p on.
func (w *Writer) Write(p []byte) (int, error) {
	var n int
	n, w.Err = w.To.Write(p)
	return n, w.Err
}
