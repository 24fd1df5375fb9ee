package follow

import (
	"os"
)

// past is the knowledge about a file that was read to its end. It decides which siblings come after the file.
type past struct {
	seen     sighting // files that are not younger
	later    sighting // files that had the name after it, and are certainly younger
	previous Position // the end of the file that was read before it
	copied   bool     // it is a copy of the file at path, which continues after it
}

// verdict says whether a sibling comes after a file.
type verdict int

const (
	younger verdict = iota
	older
	doubtful // unknown: it is left out and a gap is reported, which is better than to repeat lines
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
	// A log is written to from its creation until the next one is created. A file that was created and last written while
	// another one was in use is a copy.
	for _, o := range others {
		if _, past := p.seen[o.id]; !past && s.within(o) && !own.within(o) {
			return doubtful
		}
	}
	return younger
}

// within reports whether s was created and last written while o was in use.
func (s sibling) within(o sibling) bool {
	return o.id.birth != 0 && o.id.birth < s.id.birth && s.info.ModTime().Before(o.info.ModTime())
}

func (s sibling) stamp() stamp {
	return stamp{modified: s.info.ModTime().UnixNano(), size: s.info.Size()}
}

// next opens the first sibling that comes after own. current is the file at path, or nil. longer reports whether next begins with the
// whole own file, doubt whether a sibling was left out that may have been the next one, and moved whether the list is out of date.
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
			return opened, true, doubt, false // own is a copy that was made before the last lines were written
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

// hasRead reports whether s is the file that was read before own. The inode number is not enough, because it may be reused. ok is false
// if s was renamed meanwhile.
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

// isCopy reports whether another file begins with the whole file f. s is f in the list. Of two equal files, the later one is the copy.
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
