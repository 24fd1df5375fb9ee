package follow

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// file is an open file, together with what tells it from other files.
type file struct {
	*os.File
	info       os.FileInfo // as it was when opened, for os.SameFile
	id         identity
	head       []byte // its first bytes, at most headSize, as last seen
	generation string // names inode and head
	scratch    [headSize]byte
}

// openFile opens a regular file. Anything else is an error: a directory, or a
// pipe, which would block the open until it has a writer.
func openFile(path string) (*file, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	opened, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	// The name may lead elsewhere by now, so check the opened file.
	info, err = opened.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	f := &file{File: opened, info: info}
	if err == nil {
		f.id = identify(info, opened, path)
		f.reset()
		_, err = f.intact()
	}
	if err != nil {
		opened.Close()
		return nil, err
	}
	return f, nil
}

// missing reports whether an open failed because there is no such file (yet).
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// reset forgets the head, as at the start of an empty file.
func (f *file) reset() {
	f.head = f.head[:0]
	f.generation = newGeneration(inode(f.info), nil).String()
}

// intact reports whether the file still begins with the same bytes. It does
// not after it was truncated and written anew.
func (f *file) intact() (bool, error) {
	n, err := f.ReadAt(f.scratch[:], 0)
	if err != nil && err != io.EOF {
		return false, err
	}
	if n < len(f.head) || !bytes.Equal(f.scratch[:len(f.head)], f.head) {
		return false, nil
	}
	if n > len(f.head) {
		f.head = append(f.head[:0], f.scratch[:n]...)
		f.generation = newGeneration(inode(f.info), f.head).String()
	}
	return true, nil
}

// size asks the descriptor and not the name; unlike Stat it allocates nothing.
func (f *file) size() (int64, error) { return f.Seek(0, io.SeekEnd) }

// errTruncated says that bytes that were read before are no longer in the file.
var errTruncated = errors.New("truncated")

// readAt reads the bytes at offset. It returns 0 at the end of the file, and
// errTruncated if the file has been truncated.
//
// The head is compared after the read: if it has not changed until then, the
// bytes read before belong to it. A truncation goes unnoticed if the file grew
// past offset again between two reads, with its first headSize bytes as before.
func (f *file) readAt(buf []byte, offset int64) (int, error) {
	if len(f.head) == 0 {
		if _, err := f.intact(); err != nil {
			return 0, err
		}
	}
	n, err := f.ReadAt(buf, offset)
	if err != nil && err != io.EOF {
		return 0, err
	}
	if ok, err := f.intact(); err != nil {
		return 0, err
	} else if !ok {
		return 0, errTruncated
	}
	if n > 0 {
		return n, nil
	}
	if size, err := f.size(); err != nil {
		return 0, err
	} else if size < offset {
		return 0, errTruncated
	}
	return 0, nil
}

// isStartOf reports whether own begins with all of the file, which then is a copy of own. It compares the first and the
// last bytes only.
func (f *file) isStartOf(own *file) bool {
	size, err := f.size()
	if err != nil || size < minCopyHead {
		return false
	}
	alike := func(offset int64) bool {
		mine, its := make([]byte, min(copyPiece, size-offset)), make([]byte, min(copyPiece, size-offset))
		n, _ := f.ReadAt(mine, offset)
		m, _ := own.ReadAt(its, offset)
		return n == len(mine) && m == len(its) && bytes.Equal(mine, its)
	}
	return alike(0) && alike(max(size-copyPiece, 0))
}

// holds reports whether the file begins as g says, whatever its inode, and
// whether p can be a position in it.
func (f *file) holds(g generation, p Position) bool {
	n, err := f.ReadAt(f.scratch[:g.head], 0)
	if n < g.head || (err != nil && err != io.EOF) || crc32.ChecksumIEEE(f.scratch[:n]) != g.sum {
		return false
	}
	if size, err := f.size(); err != nil || size < p.Offset {
		return false
	}
	if p.Offset == 0 {
		return true
	}
	// A file that was cut may have begun in the same way again, and have
	// another line there.
	n, _ = f.ReadAt(f.scratch[:1], p.Offset-1)
	return n == 1 && (f.scratch[0] != '\n') == p.InLine
}
