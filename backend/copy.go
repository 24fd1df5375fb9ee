package backend

import "io"

// ReadSize is a good size for reads from a socket or a pipe, as the last argument of [Copy]. It is the capacity of a pipe on
// Linux.
const ReadSize = 64 << 10

// Copy copies from r to an input. It returns nil when r ends. Otherwise it returns the error from r or from the input. Each
// Read is followed by one Write. io.Copy does not promise that, because r or the input may have a method that copies. The
// buffer starts small and grows up to most bytes while r fills it, so thousands of idle upstreams need little memory.
//
// Copy does not notice that a context is canceled. Close r then, with context.AfterFunc, for example.
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

// Writer passes the writes of [Copy] on to an input and keeps the input's error. It tells the two errors of Copy apart: if
// Err is nil, the reader failed. Otherwise the input did, and nobody wants more bytes.
type Writer struct {
	To  io.Writer // the input
	Err error     // the result of the last Write
}

// Write writes p to the input.
func (w *Writer) Write(p []byte) (int, error) {
	var n int
	n, w.Err = w.To.Write(p)
	return n, w.Err
}
