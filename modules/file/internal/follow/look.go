package follow

import (
	"errors"
	"io/fs"
	"time"
)

// patience is how long a new file may be unreadable. logrotate creates a file first, and sets its owner later.
const patience = 5 * time.Second

// seniority tells older siblings of the file from younger ones.
type seniority struct {
	era    *era     // the file's era
	before sighting // the siblings when the file was opened or truncated, which are not copies of it
	takes  int      // the number of the census that before is from
}

// look sets next if another file is at path now. It uses the file system only if something may have changed.
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

// lookForCopies adds to before the siblings that are longer than the file, which is at path and was read to its end. These are not
// copies of it.
func (f *Follower) lookForCopies() {
	latest := f.watch.topic.census.now()
	if latest.takes == f.takes || latest.current != f.file.id {
		return
	}
	// A sibling may also be longer because the file was truncated.
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

// past returns the knowledge about the file, which was read to its end.
func (f *Follower) past() past {
	p := past{previous: f.previous, copied: f.copied}
	p.seen, p.later = f.watch.topic.census.order(f.era, f.before)
	if f.copied {
		p.seen = f.before // siblings that were seen later may be further copies
	}
	return p
}

// advance continues with the next file.
func (f *Follower) advance() {
	if f.file != nil {
		f.previous = f.position()
		f.file.Close()
		f.told.NewFile = f.told.NewFile || !f.next.longer
		f.told.Gap = f.told.Gap || f.next.doubt
	}
	f.copied = f.copied && f.next.sibling
	before := f.next.beside
	if f.next.sibling { // only siblings that are older than the last file are older than this one for sure
		before = f.next.known
	}
	era := f.era
	f.open(f.next.next, before)
	if f.copied {
		f.era = era // the era of the original file
	}
	if !f.next.longer {
		f.offset = 0
	}
	f.next = succession{}
	f.watch.moved.Store(true)
}

// open starts to read a file. before are its older siblings.
func (f *Follower) open(file *file, before sighting) {
	f.file, f.before, f.empty = file, before, len(file.head) == 0
	f.era = f.watch.topic.census.era(file.id)
}

// beside returns the siblings of a file that has just been opened. None of them comes after the file, which is still at path. It
// returns nil if the file was rotated meanwhile.
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
