package follow

import (
	"os"
)

// past is what is known about a file that has been read to its end. It decides which siblings continue it.
type past struct {
	seen     sighting // files that are not younger
	later    sighting // files that have had the name since: certainly younger
	previous Position // the end of what was read from the file before it
	copied   bool     // it is a copy of the file at path, which continues after it
}

// verdict is whether a sibling comes after a file.
type verdict int

const (
	younger verdict = iota
	older
	doubtful // maybe: it is left out with a gap, which is better than repeating lines
)

// judge decides about s, which was modified after own.
func (p past) judge(s, own sibling, others []sibling) verdict {
	if _, ok := p.later[s.id]; ok {
		return younger
	}
	if at, ok := p.seen[s.id]; ok {
		if s.id.birth == 0 && at != s.stamp() {
			return doubtful // touched, or another file with the same inode number
		}
		return older
	}
	if p.copied || s.id.birth == 0 || own.id.birth == 0 {
		return younger
	}
	if s.id.birth < own.id.birth {
		return doubtful // touched, or restored from elsewhere
	}
	// A log is written to from its birth until the next one is born. A file that was born and last written while
	// another one was in use is a copy of something.
	for _, o := range others {
		if _, past := p.seen[o.id]; !past && s.within(o) && !own.within(o) {
			return doubtful
		}
	}
	return younger
}

// within reports whether s was born and last written while o was in use.
func (s sibling) within(o sibling) bool {
	return o.id.birth != 0 && o.id.birth < s.id.birth && s.info.ModTime().Before(o.info.ModTime())
}

func (s sibling) stamp() stamp {
	return stamp{modified: s.info.ModTime().UnixNano(), size: s.info.Size()}
}

// next opens the first sibling that comes after own. current is the file at path, nil if there is none. longer reports
// that next begins with all of own; doubt, that a sibling was left out which may have been the next; moved, that the
// list is out of date.
func (p past) next(list []sibling, own *file, current *sibling) (next *file, longer, doubt, moved bool) {
	info, err := own.Stat()
	if err != nil {
		return nil, false, false, true
	}
	self := sibling{info: info, id: own.id}
	others := list
	if current != nil {
		others = append([]sibling{*current}, list...)
	}
	for _, s := range newer(list, self) {
		if s.info.Size() == 0 || os.SameFile(s.info, own.info) ||
			current != nil && os.SameFile(s.info, current.info) {
			continue
		}
		// A late line may have made the file before own look newer.
		if read, ok := p.hasRead(s); !ok {
			return nil, false, false, true
		} else if read {
			continue
		}
		switch p.judge(s, self, others) {
		case older:
			continue
		case doubtful:
			doubt = true
			continue
		}
		opened := s.openSame()
		if opened == nil {
			return nil, false, false, true
		}
		if p.copied && own.isStartOf(opened) {
			return opened, true, doubt, false // own was copied before the last lines came
		}
		_, sure := p.later[s.id]
		if !sure && (opened.isStartOf(own) || opened.isCopy(s, others)) {
			opened.Close()
			doubt = true
			continue
		}
		return opened, false, doubt, false
	}
	return nil, false, doubt, false
}

// hasRead reports whether s is the file that was read before own. The inode number does not tell, as it may have been
// reused. ok is false if s has been renamed.
func (p past) hasRead(s sibling) (read, ok bool) {
	g, known := parseGeneration(p.previous.Generation)
	if !known || p.previous.Offset == 0 || g.inode != inode(s.info) {
		return false, true
	}
	f := s.openSame()
	if f == nil {
		return false, false
	}
	defer f.Close()
	return f.holds(g, p.previous), true
}

// isCopy reports whether all of f, which is s, is in another file too. Of two equal files, the later is the copy.
func (f *file) isCopy(s sibling, others []sibling) bool {
	later := false
	for _, o := range others {
		if o.path == s.path {
			later = true
			continue
		}
		if o.info.Size() < s.info.Size() || later && o.info.Size() == s.info.Size() {
			continue
		}
		if other := o.openSame(); other != nil {
			copied := f.isStartOf(other)
			other.Close()
			if copied {
				return true
			}
		}
	}
	return false
}
