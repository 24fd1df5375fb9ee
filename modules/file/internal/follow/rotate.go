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

// attempts is how often a directory is read again if it changes meanwhile. A rotation renames one file after the other.
const attempts = 20

// name is the name of a followed file.
type name struct {
	path  string
	alone bool // files that look like its rotated files belong to another log
}

// siblings lists the rotated files, oldest first. It reads the directories at least twice, because a directory that is read during a
// rename may show a file twice or not at all.
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
	paths := pathsOf(path)
	for i, p := range paths {
		dir := filepath.Dir(p)
		if i > 0 && dir == filepath.Dir(paths[0]) {
			continue // it was read already
		}
		entries, _ := os.ReadDir(dir) // after an error, the entries read so far
		for _, entry := range entries {
			if !entry.Type().IsRegular() || !slices.ContainsFunc(paths, func(p string) bool {
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
			// Both were written within one tick of the clock. app.log.2 is older than app.log.1, and app.log-20261122 is older
			// than app.log-20261123.
			cmp.Compare(rotationCount(b.path), rotationCount(a.path)),
			cmp.Compare(a.path, b.path),
		)
	})
	return list
}

// rotatedName reports whether name looks like that of a rotated file of base: app.log.1, app.log-20261123, app.log.2026-11-23,
// app.log.old or, with a date between name and extension, app-2026-11-23T10-00-00.000.log. Between name and extension, a short
// number is not enough, because app-2.log may be the log of a second instance. Compressed files are not read.
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

// dated reports whether s is a separator, a digit and any other text, with at least so many digits in total.
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

// rotationCount returns the n in app.log.n, and 0 for other names.
func rotationCount(path string) int {
	digits := strings.TrimPrefix(filepath.Ext(path), ".")
	if n, err := strconv.Atoi(digits); err == nil && len(digits) < len("20261123") {
		return n
	}
	return 0
}

// openSame opens a listed file. It returns nil if another file has its name now.
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

// succession is the file that comes after another one, which was read to its end.
type succession struct {
	next    *file    // nil: there is none yet
	longer  bool     // next begins with the whole other file, so reading continues at the same offset
	rotated bool     // the other file has lost its name
	sibling bool     // next is a rotated file
	doubt   bool     // a file before next was left out, which may belong to this log
	beside  sighting // all siblings
	known   sighting // the siblings that are older than the other file
}

// successor opens the file that comes after own, which was read to its end. It is the next newer rotated file, or else the file at
// path. While own still has its name, there is none. An empty file at path does not count either: a writer keeps its descriptor
// until it is told of the rotation, and until then it writes to own. seen is called only if own has lost its name.
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
		// If current was rotated meanwhile, it is in the list. It is one of the files to read before the new current.
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
			// If the file was copied and truncated meanwhile, the copy comes first.
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

// unchanged reports whether two lists have the same files in the same state. It ignores one file.
func unchanged(list, again []sibling, but identity) bool {
	before, after := sight(list), sight(again)
	delete(before, but)
	delete(after, but)
	return maps.Equal(before, after)
}

// newer returns the files in list that are newer than own.
func newer(list []sibling, own sibling) []sibling {
	after := slices.IndexFunc(list, func(s sibling) bool { return os.SameFile(s.info, own.info) }) + 1
	if after == 0 { // own was deleted, or moved elsewhere
		for after < len(list) && list[after].info.ModTime().Before(own.info.ModTime()) {
			after++
		}
	}
	return list[after:]
}

// locate opens the file that has position p. It is the file at path, or else the rotated file with its inode number, or else a copy,
// for which copied is true. If the file was truncated and there is no copy, locate opens the truncated file, and exact is false.
// If there is no file at all, found is nil. locate returns an error only if the file at path cannot be read.
func locate(ctx context.Context, name name, p Position) (found *file, exact, copied bool, err error) {
	g, ok := parseGeneration(p.Generation)
	if !ok || p.Offset < 0 {
		return nil, false, false, nil
	}
	for range attempts {
		if err := ctx.Err(); err != nil {
			return nil, false, false, err
		}
		var born int64 // the birth of the file that had p, if it was truncated: its copies are younger
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
		if found != nil && found.isCopy(cut, name.all(list)) { // it is a copy of another file, and has the inode number by chance
			found.Close()
			found = nil
		}
		return found, false, false, nil
	}
	return nil, false, false, nil
}

// minCopyHead is how many first bytes must be equal before a file with another inode number is taken for a copy.
const minCopyHead = 16

// copyPiece is the size of the pieces that are compared to find out whether a file is a copy.
const copyPiece = 4 << 10

// locateCopy opens a copy of the file that had position p, such as "copytruncate" makes. The copy begins as g says and has position
// p. Of several copies, locateCopy takes the longest, because the others may lack the last lines. Of equal ones, it takes the
// oldest, because the others may be copies of it. It takes none if they differ after p: logs that begin with the same banner are
// not copies of each other. doubt reports whether a copy was left out, and moved whether the list is out of date.
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
