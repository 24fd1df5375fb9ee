// Package follow follows a file by its name, as tail -F does: through renames, truncation, deletion and re-creation. Unlike tail,
// it loses no bytes that still exist. It reads files that were rotated while it did not look, in order. With a [Position], a reader
// resumes exactly, even in a rotated file. Libraries that follow files have no such position.
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
	// Path is the file's name. It may be a symbolic link, which may be pointed to another file at any time.
	Path string

	// From is where to start in a file that exists at Open. A file that appears later is read from its start.
	From Start

	// Alone means that no other file belongs to this log, whatever its name. A client that chooses a part of Path must not
	// reach another log.
	Alone bool

	// Resume, if not nil, is where to start, instead of From. Bytes before it are not read again.
	Resume *Position
}

// Chunk is a piece of the file. It never spans two generations.
type Chunk struct {
	// Data is the part of the caller's buffer that was filled. It is empty if there is a flag to report, but no byte yet.
	Data []byte

	// Generation identifies the file that Data is from. It stays the same over a rename and a restart, and changes after a
	// truncation or a re-creation. While a file has fewer than 256 bytes, its generation changes as it grows. The earlier ones
	// stay valid in a [Position]. It is empty if there is no file.
	Generation string

	// Offset is the offset of Data in that file.
	Offset int64

	// NewFile: the bytes before this chunk were from another file. If that file ends without an LF, its last line is complete if
	// the file was rotated, deleted or replaced, because its writer is gone. If Truncated is set, the line is lost.
	NewFile bool

	// Truncated: NewFile is set because the file was truncated. Bytes that had not been read are lost.
	Truncated bool

	// Gap: the bytes at the position to resume from no longer exist, so an unknown number of bytes is missing before this chunk.
	// The chunk is from the start of the file that was truncated, if that still exists, or else of the current file. With
	// NewFile, it may also mean that a file in between was left out, because it may be a copy of one that was read.
	Gap bool
}

// Follower follows one file for one reader. Only one goroutine may call Next at a time. Close may be called at any time.
type Follower struct {
	name  name
	watch *subscription

	closing sync.Once
	closed  chan struct{}

	mu sync.Mutex // held while Next works, not while it waits
	reading
	seniority
	next     succession // the file to read next
	previous Position   // the end of the file before this one
	refused  time.Time  // the time since when the file at path cannot be opened
	told     Chunk      // the flags for the next chunk
}

// reading is the file that is being read, and the position in it.
type reading struct {
	file   *file // nil until there is one
	offset int64 // the offset of the next byte
	inLine bool  // the byte before it is not an LF
	empty  bool  // file was empty at the latest look, and nothing of it has been read since
	copied bool  // file is a copy of the one at path
}

// position returns the position of the next byte.
func (r *reading) position() Position {
	return Position{Generation: r.file.generation, Offset: r.offset, InLine: r.inLine}
}

// pass moves the position past data, which was read there.
func (r *reading) pass(data []byte) {
	r.offset += int64(len(data))
	if len(data) > 0 {
		r.inLine = data[len(data)-1] != '\n'
	}
}

// Open starts to follow a file. The file, and its directory, need not exist yet. Open returns an error if the file exists but cannot
// be read, and the error of ctx.
func Open(ctx context.Context, o Options) (*Follower, error) {
	path, err := filepath.Abs(o.Path)
	if err != nil { // the working directory was deleted
		path = o.Path
	}
	f := &Follower{
		name:   name{path: path, alone: o.Alone},
		watch:  subscribe(name{path: path, alone: o.Alone}),
		closed: make(chan struct{}),
	}
	// This is not left to the first Next, so that FromEnd means the end at the time of Open.
	if err := f.start(ctx, o.From, o.Resume); err != nil {
		f.Close()
		return nil, fmt.Errorf("following a file: %w", err)
	}
	return f, nil
}

// Next waits until there are bytes or flags to report, or until ctx ends. It reads at most len(buf) bytes into buf. It does not
// allocate while the file only grows. It returns the error of ctx, [os.ErrClosed], or an error if the file exists but cannot be
// read. After the latter, Next may be called again.
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

// Close ends a waiting Next, and releases the follower's descriptors. The last follower also releases the watches and goroutines.
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

// read is Next, but does not wait. ready is false if there is nothing to return.
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
				if f.empty && f.joined(f.name.siblings()) { // earlier lines may have been copied away and truncated
					f.told.Gap = true
				}
				f.empty = false
				return f.tell(buf[:n]), true, nil
			}
		}
		// This is the end of the file. The next file is read only if this one still has no more bytes after the next one was
		// seen to have some.
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

// tell returns a chunk with data and the flags to report.
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

// start finds the position to start at.
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
