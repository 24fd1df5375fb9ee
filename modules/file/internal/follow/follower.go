// Package follow follows a file by its name, as tail -F does: through rotation
// by rename, truncation, deletion and re-creation. Unlike tail it loses nothing
// that still exists: it reads files that were rotated away unseen, in order, and
// a [Position] resumes exactly, in a rotated file too. Tail packages have no such
// position.
package follow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Options say what to follow and from where.
type Options struct {
	// Path is the file's name. It may be a symbolic link, which is followed
	// wherever it is pointed to.
	Path string

	// From is where to begin in a file that is there at Open; one that
	// appears later is read from its start.
	From Start

	// Alone says that no other file belongs to this log, whatever its name. A
	// client that chooses a part of Path must not reach another log.
	Alone bool

	// Resume, if not nil, is where to begin, instead of From. Nothing before
	// it is read again.
	Resume *Position
}

// Chunk is a piece of one generation of the file. It never spans two.
type Chunk struct {
	// Data is the part of the caller's buffer that was filled. It is empty
	// where there is something to tell before there are bytes.
	Data []byte

	// Generation names the file Data is from. It stays the same through a
	// rename and a restart, and is another one after a truncation or a
	// re-creation. A file whose first 256 bytes are not yet written changes
	// its name as it grows; the names it had stay valid in a [Position]. It
	// is empty if there is no file.
	Generation string

	// Offset is where in that file Data begins.
	Offset int64

	// NewFile: the bytes before this chunk were another file's. A last line
	// of that file without LF is complete if the file was rotated, deleted
	// or replaced, as its writer is gone; it is lost if Truncated.
	NewFile bool

	// Truncated: NewFile, because the file was cut. What had not been read
	// of it is lost.
	Truncated bool

	// Gap: the position to resume at is not kept, so that an unknown number
	// of bytes is missing before this chunk. It begins with the start of the
	// file that was truncated, if that is kept, else of the one there is now.
	// With NewFile it may also be that a file between the two was left out, as
	// nobody can tell whether it is a copy of one that has been read.
	Gap bool
}

// Follower follows one file for one reader. Close may be called at any time,
// Next by one goroutine at a time.
type Follower struct {
	name  name
	watch *subscription

	closing sync.Once
	closed  chan struct{}

	mu sync.Mutex // held while Next works, not while it waits
	reading
	seniority
	next     succession // what to read after the end of file
	previous Position   // the end of the file before it
	refused  time.Time  // since when the file at path cannot be opened
	told     Chunk      // the flags that go with the next chunk
}

// reading is the file that is read, and how far it has been read.
type reading struct {
	file   *file // nil until there is one
	offset int64 // of the next byte in file
	inLine bool  // the byte before it is no LF
	empty  bool  // file was empty at the latest look, and nothing of it has been read since
	copied bool  // file is a copy of the one at path
}

// position returns where in the file the next byte is.
func (r *reading) position() Position {
	return Position{Generation: r.file.generation, Offset: r.offset, InLine: r.inLine}
}

// pass moves the position past data, which has been read there.
func (r *reading) pass(data []byte) {
	r.offset += int64(len(data))
	if len(data) > 0 {
		r.inLine = data[len(data)-1] != '\n'
	}
}

// Open begins to follow a file. One that is not there yet is waited for, in a
// directory that is not there yet too; the error is that of one that is there
// but cannot be read, or ctx's.
func Open(ctx context.Context, o Options) (*Follower, error) {
	path, err := filepath.Abs(o.Path)
	if err != nil { // the working directory is gone: no name leads anywhere
		path = o.Path
	}
	f := &Follower{
		name:   name{path: path, alone: o.Alone},
		watch:  subscribe(name{path: path, alone: o.Alone}),
		closed: make(chan struct{}),
	}
	// Now and not at the first Next, so that "from the end" means from now on.
	if err := f.start(ctx, o.From, o.Resume); err != nil {
		f.Close()
		return nil, fmt.Errorf("following a file: %w", err)
	}
	return f, nil
}

// Next waits until there is something to read or to tell, or ctx ends. It
// reads at most len(buf) bytes into buf, and allocates nothing while the file
// just grows. Errors are ctx's, [os.ErrClosed], and those of a file that is
// there but cannot be read; after these Next may be called again.
func (f *Follower) Next(ctx context.Context, buf []byte) (Chunk, error) {
	if len(buf) == 0 {
		return Chunk{}, io.ErrShortBuffer
	}
	for {
		if err := ctx.Err(); err != nil {
			return Chunk{}, err
		}
		chunk, ready, err := f.read(buf)
		if err != nil {
			return Chunk{}, err
		}
		if ready {
			return chunk, nil
		}
		var again <-chan time.Time
		if !f.refused.IsZero() {
			again = time.After(patience / 10)
		}
		select {
		case <-f.watch.wake:
		case <-again:
		case <-f.closed:
		case <-ctx.Done():
		}
	}
}

// Close ends a Next that waits and gives everything back: the follower's
// descriptors, and with the last follower the watches and goroutines.
func (f *Follower) Close() error {
	f.closing.Do(func() {
		close(f.closed)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.watch.cancel()
		for _, open := range []*file{f.file, f.next.next} {
			if open != nil {
				open.Close()
			}
		}
		f.file, f.next = nil, succession{}
	})
	return nil
}

// read is Next without the waiting: ready is false where there is nothing.
func (f *Follower) read(buf []byte) (chunk Chunk, ready bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.closed:
		return Chunk{}, false, os.ErrClosed
	default:
	}
	for {
		if f.file != nil {
			n, err := f.file.readAt(buf, f.offset)
			switch {
			case errors.Is(err, errTruncated):
				f.truncated()
				continue
			case err != nil:
				return Chunk{}, false, fmt.Errorf("following a file: %w", err)
			case n > 0:
				if f.empty && f.joined(f.name.siblings()) { // lines may have been copied away and cut
					f.told.Gap = true
				}
				f.empty = false
				return f.tell(buf[:n]), true, nil
			}
		}
		// The end. Another file takes over only if this one has still
		// nothing more to give after that one was seen to have bytes.
		if f.next.next != nil {
			f.advance()
			continue
		}
		if err := f.look(); err != nil {
			return Chunk{}, false, fmt.Errorf("following a file: %w", err)
		}
		if f.next.next != nil {
			continue
		}
		if f.told.Gap || f.told.NewFile {
			return f.tell(nil), true, nil
		}
		return Chunk{}, false, nil
	}
}

// tell makes a chunk of data, and of what is to be told with it.
func (f *Follower) tell(data []byte) Chunk {
	c := f.told
	f.told = Chunk{}
	c.Data, c.Offset = data, f.offset
	if f.file != nil {
		c.Generation = f.file.generation
	}
	f.pass(data)
	return c
}

// start finds the place to begin at.
func (f *Follower) start(ctx context.Context, from Start, resume *Position) error {
	if resume != nil {
		found, exact, copied, err := locate(ctx, f.name, *resume)
		if err != nil {
			return err
		}
		f.told.Gap = !exact
		if exact {
			f.offset, f.inLine = resume.Offset, resume.InLine
		}
		if found != nil {
			f.open(found, f.beside(found))
			f.copied = copied
			return nil
		}
		from = FromStart
	}
	opened, err := openFile(f.name.path)
	if err != nil && !missing(err) {
		return err
	}
	if err == nil {
		size, err := opened.size()
		if err == nil {
			f.offset, err = from.offset(ctx, opened, size)
		}
		if err != nil {
			opened.Close()
			return err
		}
		f.open(opened, f.beside(opened))
	}
	return nil
}
