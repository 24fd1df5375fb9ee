package follow

import (
	"bytes"
	"context"
	"io"
)

// Start says where to start in a file that exists already. The zero value is [FromEnd].
type Start struct {
	all   bool
	lines int
}

var (
	// FromStart starts with the first byte.
	FromStart = Start{all: true}

	// FromEnd starts with the next bytes that are appended. If the file ends in the middle of a line, it starts with that line,
	// unless more than 64 KiB of the line were written already.
	FromEnd = Start{}
)

// Last starts with the last n lines, or fewer if these are more than 64 MiB. An unfinished last line comes in addition.
func Last(n int) Start { return Start{lines: max(n, 0)} }

// block is the size of a read when a file is searched backwards. It is also how far FromEnd goes back to the beginning of an unfinished
// line.
const block = 64 << 10

// farthest is how far a file is searched backwards, however few lines it has. A sparse file may have terabytes without a
// line.
const farthest = 64 << 20

// offset returns the offset of s in a file of that size.
func (s Start) offset(ctx context.Context, r io.ReaderAt, size int64) (int64, error) {
	if s.all || size == 0 {
		return 0, nil
	}
	// The offset is that after the LF at the end of the line before the first wanted one.
	wanted := s.lines + 1
	first := size // the start of the first line found so far
	bound := max(size-farthest, 0)
	buf := make([]byte, min(block, size))
	for end := size; end > bound; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		piece := buf[:min(block, end-bound)]
		begin := end - int64(len(piece))
		if n, err := r.ReadAt(piece, begin); n < len(piece) {
			if err == io.EOF { // truncated meanwhile: the first read will notice
				return size, nil
			}
			return 0, err
		}
		for i := bytes.LastIndexByte(piece, '\n'); i >= 0; i = bytes.LastIndexByte(piece[:i], '\n') {
			first = begin + int64(i) + 1
			if wanted--; wanted == 0 {
				return first, nil
			}
		}
		if s.lines == 0 && begin > 0 {
			return size, nil
		}
		end = begin
	}
	if bound > 0 {
		return first, nil
	}
	return 0, nil
}
