package follow

import (
	"errors"
	"io/fs"
	"time"
)

// patience is how long a new file may refuse to be opened: logrotate creates it
// first and gives it its owner then.
const patience = 5 * time.Second

// seniority tells the siblings that are older than the file from those that are
// younger.
type seniority struct {
	era    *era     // of the file
	before sighting // siblings when the file was opened or truncated: not copies of it
	takes  int      // the look of the census that before is from
}

// look sets next if another file is at path by now. It asks the file system
// only if something may have changed there.
func (f *Follower) look() error {
	if !f.watch.moved.Swap(false) && !f.next.rotated && f.refused.IsZero() {
		return nil
	}
	var err error
	f.next, err = successor(f.name, f.file, f.past)
	if err == nil && f.file != nil && f.next.next == nil && !f.next.rotated {
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

// past returns what is known about the file that has been read to its end.
func (f *Follower) past() past {
	p := past{previous: f.previous, copied: f.copied}
	p.seen, p.later = f.watch.topic.census.order(f.era, f.before)
	if f.copied {
		p.seen = f.before // siblings seen since then may be further copies
	}
	return p
}

// advance goes on with the next file.
func (f *Follower) advance() {
	if f.file != nil {
		f.previous = f.position()
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
	f.watch.moved.Store(true)
}

// open makes file the one that is read. before are its siblings.
func (f *Follower) open(file *file, before sighting) {
	f.file, f.before, f.empty = file, before, len(file.head) == 0
	f.era = f.watch.topic.census.era(file.id)
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
