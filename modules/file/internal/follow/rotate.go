package follow

import (
	"cmp"
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// sibling is a rotated file beside the followed one.
type sibling struct {
	path string
	info os.FileInfo
	id   identity
}

// attempts bounds how often a directory is looked at again because it changed
// while it was read: a rotation renames file after file.
const attempts = 20

// name is what a file is followed by.
type name struct {
	path  string
	alone bool // files that look like its rotated files belong to another log
}

// siblings lists the rotated files, oldest first. It reads directories twice,
// as one read during a rename may show a file twice or not at all.
func (n name) siblings() []sibling {
	if n.alone {
		return nil
	}
	list := listSiblings(n.path)
	for range attempts {
		again := listSiblings(n.path)
		if slices.EqualFunc(list, again, func(a, b sibling) bool {
			return a.path == b.path && a.id == b.id && os.SameFile(a.info, b.info)
		}) {
			return again
		}
		list = again
	}
	return list
}

// all adds the file at path to the list, if there is one.
func (n name) all(list []sibling) []sibling {
	info, err := os.Stat(n.path)
	id, ok := identifyTarget(n.path)
	if err != nil || !ok {
		return list
	}
	return append([]sibling{{n.path, info, id}}, list...)
}

func listSiblings(path string) []sibling {
	var list []sibling
	places := places(path)
	for i, place := range places {
		dir := filepath.Dir(place)
		if i > 0 && dir == filepath.Dir(places[0]) {
			continue // has been read
		}
		entries, _ := os.ReadDir(dir) // as much of it as can be read
		for _, entry := range entries {
			if !entry.Type().IsRegular() || !slices.ContainsFunc(places, func(p string) bool {
				return filepath.Dir(p) == dir && rotatedName(filepath.Base(p), entry.Name())
			}) {
				continue
			}
			if info, err := entry.Info(); err == nil {
				path := filepath.Join(dir, entry.Name())
				list = append(list, sibling{path, info, identify(info, nil, path)})
			}
		}
	}
	slices.SortFunc(list, func(a, b sibling) int {
		return cmp.Or(
			a.info.ModTime().Compare(b.info.ModTime()),
			// Written within one tick of the clock: app.log.2 is older than
			// app.log.1, app.log-20261122 than app.log-20261123.
			cmp.Compare(rotationCount(b.path), rotationCount(a.path)),
			cmp.Compare(a.path, b.path),
		)
	})
	return list
}

// rotatedName reports whether name looks like what rotation makes of base:
// app.log.1, app.log-20261123, app.log.2026-11-23, app.log.old or, with a date
// between name and extension, app-2026-11-23T10-00-00.000.log. There a mere
// number is not enough: app-2.log is the log of a second instance.
// Compressed files are not read.
func rotatedName(base, name string) bool {
	switch filepath.Ext(name) {
	case ".gz", ".zst", ".xz", ".bz2", ".lz4", ".zip", ".tmp":
		return false
	}
	if rest, ok := strings.CutPrefix(name, base); ok {
		return rest == ".old" || dated(rest, 1)
	}
	ext := filepath.Ext(base)
	rest, ok := strings.CutPrefix(name, strings.TrimSuffix(base, ext))
	if !ok || ext == "" || ext == base {
		return false
	}
	rest, ok = strings.CutSuffix(rest, ext)
	return ok && dated(rest, len("20261123"))
}

// dated reports whether s is a separator, a digit, and whatever else, with at
// least so many digits in all.
func dated(s string, digits int) bool {
	if len(s) < 2 || !strings.ContainsRune("-._", rune(s[0])) || s[1] < '0' || s[1] > '9' {
		return false
	}
	for _, c := range s {
		if '0' <= c && c <= '9' {
			digits--
		}
	}
	return digits <= 0
}

// rotationCount is the n of app.log.n, 0 for names that carry something else.
func rotationCount(path string) int {
	digits := strings.TrimPrefix(filepath.Ext(path), ".")
	if n, err := strconv.Atoi(digits); err == nil && len(digits) < len("20261123") {
		return n
	}
	return 0
}

// openSame opens a listed file, or nothing if another one has its name by now.
func (s sibling) openSame() *file {
	f, err := openFile(s.path)
	if err != nil {
		return nil
	}
	if f.id != s.id || !os.SameFile(f.info, s.info) {
		f.Close()
		return nil
	}
	return f
}

// succession says what comes after a file that has been read to its end.
type succession struct {
	next    *file    // nil: nothing yet
	longer  bool     // next begins with all of the file, so that reading continues at the same offset
	rotated bool     // the file has lost its name
	sibling bool     // next is a rotated file
	doubt   bool     // a file was left out before next that may belong to this log
	beside  sighting // all siblings
	known   sighting // those that are older than the file
}

// successor opens the file to read after own, which has been read to its end:
// the next newer of the rotated files, else what path stands for. There is none
// while own still has that name. Nor while the only one that could be is empty:
// a writer keeps its descriptor until it is told of the rotation, and up to
// then its lines arrive in own. What was seen is asked only if own has lost its
// name.
func successor(name name, own *file, seen func() past) (succession, error) {
	var known *past
	for range attempts {
		current, err := os.Stat(name.path)
		if err != nil && !missing(err) {
			return succession{rotated: true}, err
		}
		found := err == nil
		if own == nil {
			if !found {
				break
			}
			next, err := openFile(name.path)
			if err != nil && missing(err) {
				continue
			}
			return succession{next: next, rotated: true, beside: sight(name.siblings())}, err
		}
		if found && os.SameFile(current, own.info) {
			return succession{}, nil
		}
		list := name.siblings()
		// If current has been rotated away meanwhile, it is in the list as
		// what it is now: one of those to read before the new current.
		id, there := identifyTarget(name.path)
		again, err := os.Stat(name.path)
		if found != (err == nil) || found && (!there || !os.SameFile(current, again)) {
			continue
		}
		if known == nil {
			p := seen()
			known = &p
		}
		var taken *sibling
		if found {
			taken = &sibling{path: name.path, info: again, id: id}
		}
		next, longer, doubt, moved := known.next(list, own, taken)
		if moved {
			continue
		}
		s := succession{next: next, longer: longer, rotated: true, sibling: true, doubt: doubt, beside: sight(list), known: known.seen}
		if next != nil {
			return s, nil
		}
		if !found || current.Size() == 0 {
			break
		}
		s.sibling = false
		s.next, err = openFile(name.path)
		switch {
		case err == nil && os.SameFile(s.next.info, current):
			// If it was copied and truncated meanwhile, the copy comes first.
			if unchanged(list, name.siblings(), own.id) {
				return s, nil
			}
			s.next.Close()
		case err == nil:
			s.next.Close()
		case !missing(err):
			return succession{rotated: true}, err
		}
	}
	return succession{rotated: true}, nil
}

// unchanged reports whether two lists show the same files in the same state. One file is ignored.
func unchanged(list, again []sibling, but identity) bool {
	before, after := sight(list), sight(again)
	delete(before, but)
	delete(after, but)
	return maps.Equal(before, after)
}

// newer returns the files in list that are newer than own.
func newer(list []sibling, own sibling) []sibling {
	after := slices.IndexFunc(list, func(s sibling) bool { return os.SameFile(s.info, own.info) }) + 1
	if after == 0 { // deleted, or moved out of sight
		for after < len(list) && list[after].info.ModTime().Before(own.info.ModTime()) {
			after++
		}
	}
	return list[after:]
}

// locate opens the file that p is a position in: the one at path, else the
// rotated one with its inode, else a copy, which copied tells. If there is none but the file was
// truncated and is there with what came after, exact is false; if there is not
// even that, found is nil. Only a file at path that cannot be read is an error.
func locate(ctx context.Context, name name, p Position) (found *file, exact, copied bool, err error) {
	g, ok := parseGeneration(p.Generation)
	if !ok || p.Offset < 0 {
		return nil, false, false, nil
	}
	for range attempts {
		if err := ctx.Err(); err != nil {
			return nil, false, false, err
		}
		var born int64 // the file that p was in, if that has been cut: its copies are younger
		current, err := openFile(name.path)
		if err == nil {
			if inode(current.info) == g.inode {
				if current.holds(g, p) {
					return current, true, false, nil
				}
				born = current.id.birth
			}
			current.Close()
		} else if !missing(err) {
			return nil, false, false, err
		}
		list := name.siblings()
		moved := false
		var cut sibling
		for _, s := range list {
			if inode(s.info) != g.inode {
				continue
			}
			f := s.openSame()
			switch {
			case f == nil:
				moved = true
			case f.holds(g, p):
				return f, true, false, nil
			default:
				f.Close()
				cut, born = s, s.id.birth
			}
		}
		if moved {
			continue
		}
		copy, _, moved := locateCopy(list, g, p, func(s sibling) bool {
			return s.id.birth != 0 && s.id.birth < born
		})
		if moved {
			continue
		}
		if copy != nil {
			return copy, true, true, nil
		}
		if cut.path == "" || g.inode == 0 {
			return nil, false, false, nil
		}
		found := cut.openSame()
		if found != nil && found.isCopy(cut, name.all(list)) { // of another file, and has the inode number by chance
			found.Close()
			found = nil
		}
		return found, false, false, nil
	}
	return nil, false, false, nil
}

// minCopyHead is how many first bytes must be alike before a file with another
// inode is taken for a copy.
const minCopyHead = 16

// copyPiece is how much of a file is compared to find out whether it is a copy.
const copyPiece = 4 << 10

// locateCopy opens a copy of the file that p is a position in, as "copytruncate" makes it: it begins as g says and has
// p's place. Of several it takes the longest, as the others may lack the last lines, and of equal ones the oldest, as the
// others may be copies of it. It takes none if they differ after p: logs that begin with the same banner are not copies
// of one another. doubt reports that one was left out; moved, that the list is out of date.
func locateCopy(list []sibling, g generation, p Position, refused func(sibling) bool) (found *file, doubt, moved bool) {
	if g.head < minCopyHead {
		return nil, false, false
	}
	var longest sibling
	for _, s := range list {
		if inode(s.info) == g.inode && g.inode != 0 || s.info.Size() < p.Offset {
			continue
		}
		f := s.openSame()
		if f == nil {
			if found != nil {
				found.Close()
			}
			return nil, false, true
		}
		switch {
		case !f.holds(g, p):
			f.Close()
		case refused(s):
			f.Close()
			doubt = true
		case found == nil:
			found, longest = f, s
		case s.info.Size() <= longest.info.Size() && f.isStartOf(found):
			f.Close()
		case s.info.Size() > longest.info.Size() && found.isStartOf(f):
			found.Close()
			found, longest = f, s
		default:
			f.Close()
			found.Close()
			return nil, true, false
		}
	}
	return found, doubt, false
}
