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
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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

// patience is how long a new file may refuse to be opened: logrotate creates it
// first and gives it its owner then.
const patience = 5 * time.Second

// Follower follows one file for one reader. Close may be called at any time,
// Next by one goroutine at a time.
type Follower struct {
	name  name
	watch *subscription

	closing sync.Once
	closed  chan struct{}

	mu       sync.Mutex // held while Next works, not while it waits
	file     *file      // nil until there is one
	offset   int64      // of the next byte in file
	inLine   bool       // the byte before it is no LF
	empty    bool       // file was empty at the latest look, and nothing of it has been read since
	next     succession // what to read after the end of file
	rotated  bool       // file is no longer the one at path
	previous Position   // the end of the file before it
	era      *era       // of file
	before   sighting   // siblings when file was opened or truncated: not copies of it
	copied   bool       // file is a copy of the one at path
	takes    int        // the look of the census that before is from
	refused  time.Time  // since when the file at path cannot be opened
	told     Chunk      // the flags that go with the next chunk
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
	f.offset += int64(len(data))
	if len(data) > 0 {
		f.inLine = data[len(data)-1] != '\n'
	}
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

// beside returns the siblings of a file that has just been opened. None of them comes after it, as it is still at path.
// It returns nil if the file has been rotated.
func (f *Follower) beside(file *file) sighting {
	if latest := f.watch.topic.census.now(); latest.current == file.id {
		return latest.seen
	}
	seen := sight(f.name.siblings())
	if !f.named(file) {
		return nil
	}
	return seen
}

// named reports whether path leads to the file.
func (f *Follower) named(file *file) bool {
	id, ok := identifyTarget(f.name.path)
	return ok && id == file.id
}

// open makes file the one that is read. before are its siblings.
func (f *Follower) open(file *file, before sighting) {
	f.file, f.before, f.empty = file, before, len(file.head) == 0
	f.era = f.watch.topic.census.era(file.id)
}

// past returns what is known about the file that has been read to its end.
func (f *Follower) past() past {
	p := past{previous: f.previous, copied: f.copied}
	p.seen, p.later = f.watch.topic.census.order(f.era, f.before)
	if f.copied {
		p.seen = f.before // siblings seen since then may be further copies
	}
	return p
}

// look sets next if another file is at path by now. It asks the file system
// only if something may have changed there.
func (f *Follower) look() error {
	if !f.watch.moved.Swap(false) && !f.rotated && f.refused.IsZero() {
		return nil
	}
	var err error
	f.next, err = successor(f.name, f.file, f.past)
	f.rotated = f.next.rotated
	if err == nil && f.file != nil && f.next.next == nil && !f.rotated {
		f.lookForCopies()
	}
	if !errors.Is(err, fs.ErrPermission) {
		f.refused = time.Time{}
		return err
	}
	if f.refused.IsZero() {
		f.refused = time.Now()
	}
	if time.Since(f.refused) < patience {
		return nil
	}
	return err
}

// lookForCopies notes the siblings that are not copies of file, which is at
// path and has been read to its end: those that are longer.
func (f *Follower) lookForCopies() {
	latest := f.watch.topic.census.now()
	if latest.takes == f.takes || latest.current != f.file.id {
		return
	}
	// Not longer only because file has been cut.
	if ok, err := f.file.intact(); !ok || err != nil {
		return
	}
	if size, err := f.file.size(); size != f.offset || err != nil {
		return
	}
	f.takes = latest.takes
	before := make(sighting, len(latest.seen))
	for id, at := range latest.seen {
		if _, there := f.before[id]; there || at.size > f.offset {
			before[id] = at
		}
	}
	f.before = before
}

// advance goes on with the next file.
func (f *Follower) advance() {
	if f.file != nil {
		f.previous = Position{Generation: f.file.generation, Offset: f.offset, InLine: f.inLine}
		f.file.Close()
		f.told.NewFile = f.told.NewFile || !f.next.longer
		f.told.Gap = f.told.Gap || f.next.doubt
	}
	f.copied = f.copied && f.next.sibling
	before := f.next.beside
	if f.next.sibling { // only what is before the former file is before this one for sure
		before = f.next.known
	}
	era := f.era
	f.open(f.next.next, before)
	if f.copied {
		f.era = era // of what it was copied from
	}
	if !f.next.longer {
		f.offset = 0
	}
	f.next = succession{}
	f.rotated = false
	f.watch.moved.Store(true)
}

// joined reports whether a sibling has appeared or changed since before was noted. Such a sibling may be a copy of lines
// that file has had and lost since then.
func (f *Follower) joined(list []sibling) bool {
	info, err := f.file.Stat()
	return err == nil && slices.ContainsFunc(list, func(s sibling) bool {
		at, there := f.before[s.id]
		return (!there || at != s.stamp()) && s.info.Size() > 0 && s.id != f.file.id && !s.info.ModTime().After(info.ModTime())
	})
}

// truncated continues after the file was truncated: in the copy that
// "copytruncate" made before, if there is one, else at its new start.
func (f *Follower) truncated() {
	g, ok := parseGeneration(f.file.generation)
	at := Position{Offset: f.offset, InLine: f.inLine}
	// The head is read before and after the siblings are listed, so that another truncation meanwhile shows.
	f.file.reset()
	_, _ = f.file.intact() // an error comes again with the next read
	if ok {
		var list []sibling
		var doubt bool
		for range attempts {
			list = f.name.siblings()
			_, _ = f.file.intact()
			var copied *file
			var moved bool
			copied, doubt, moved = locateCopy(list, g, at, func(s sibling) bool {
				_, there := f.before[s.id]
				return there
			})
			if copied != nil {
				f.file.Close()
				f.file, f.copied = copied, true
				f.watch.moved.Store(true)
				return
			}
			if !moved {
				break
			}
		}
		if f.copied { // nobody writes to a copy, so its new content is unknown
			f.file.Close()
			f.file, f.copied, f.offset = nil, false, 0
			f.told.NewFile, f.told.Truncated, f.told.Gap = true, true, true
			f.watch.moved.Store(true)
			return
		}
		// The one left out may be the copy after all. And a sibling that has appeared may have lines that the file had since.
		f.told.Gap = f.told.Gap || doubt || f.joined(list)
		if f.named(f.file) { // else later files may be among them
			f.before = sight(list)
		}
	}
	f.offset = 0
	f.empty = len(f.file.head) == 0
	f.told.NewFile, f.told.Truncated = true, true
}
