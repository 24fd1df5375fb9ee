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

// file is an open file with its identity.
type file struct {
	*os.File
	info       os.FileInfo // from the time of opening, for os.SameFile
	id         identity
	head       []byte // its first bytes, at most headSize, at the latest look
	generation string // made from inode and head
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

// reset clears the head, as for an empty file.
func (f *file) reset() {
	f.head = f.head[:0]
	f.generation = newGeneration(inode(f.info), nil).String()
}

// intact reports whether the file still begins with the same bytes. It does not if it was truncated and written again.
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

// size returns the size of the open file. Unlike Stat, it does not allocate.
func (f *file) size() (int64, error) { return f.Seek(0, io.SeekEnd) }

// errTruncated means that bytes that were read before are no longer in the file.
var errTruncated = errors.New("truncated")

// readAt reads the bytes at offset. It returns 0 at the end of the file, and
// errTruncated if the file has been truncated.
//
// It checks the head after the read. If the head has not changed, the bytes belong to the same content. A truncation is not noticed
// if, between two reads, the file grew past offset again with the same first headSize bytes.
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

// isStartOf reports whether own begins with the whole file, which is a copy of own then. It compares only the first and the last
// bytes.
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
	// A truncated file may begin with the same bytes again, but have another line at this position.
	n, _ = f.ReadAt(f.scratch[:1], p.Offset-1)
	return n == 1 && (f.scratch[0] != '\n') == p.InLine
}
