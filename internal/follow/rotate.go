package follow

import (
	"cmp"
	"context"
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
}

// attempts bounds how often a directory is looked at again because it changed
// while it was read: a rotation renames file after file.
const attempts = 20

// name is what a file is followed by.
type name struct {
	path  string
	alone bool // what looks like its rotated files is not of this log
}

// siblings lists the rotated files, oldest first. It looks twice, as a
// directory read during a rename may show a file twice or not at all.
func (n name) siblings() []sibling {
	if n.alone {
		return nil
	}
	list := listSiblings(n.path)
	for range attempts {
		again := listSiblings(n.path)
		if slices.EqualFunc(list, again, func(a, b sibling) bool {
			return a.path == b.path && os.SameFile(a.info, b.info)
		}) {
			return again
		}
		list = again
	}
	return list
}

func listSiblings(path string) []sibling {
	var list []sibling
	places := places(path)
	for i, place := range places {
		dir := filepath.Dir(place)
		if i > 0 && dir == filepath.Dir(places[0]) {
			continue // has been read
		}
		entries, _ := os.ReadDir(dir) // what can be read of it, if anything
		for _, entry := range entries {
			if !entry.Type().IsRegular() || !slices.ContainsFunc(places, func(p string) bool {
				return filepath.Dir(p) == dir && rotatedName(filepath.Base(p), entry.Name())
			}) {
				continue
			}
			if info, err := entry.Info(); err == nil {
				list = append(list, sibling{filepath.Join(dir, entry.Name()), info})
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
	if !os.SameFile(f.info, s.info) {
		f.Close()
		return nil
	}
	return f
}

// successor opens the file to read after own, which has been read to its end:
// the next newer of the rotated files, else what path stands for. There is none
// while own still has that name. Nor while the only one that could be is empty:
// a writer keeps its descriptor until it is told of the rotation, and up to
// then its lines arrive in own. rotated is whether own lost its name.
func successor(name name, own *file, previous os.FileInfo) (next *file, rotated bool, err error) {
	for range attempts {
		current, err := os.Stat(name.path)
		if err != nil && !missing(err) {
			return nil, true, err
		}
		found := err == nil
		if own == nil {
			if !found {
				return nil, true, nil
			}
			next, err = openFile(name.path)
			if err != nil && missing(err) {
				continue
			}
			return next, true, err
		}
		if found && os.SameFile(current, own.info) {
			return nil, false, nil
		}
		list := name.siblings()
		// If current has been rotated away meanwhile, it is in the list as
		// what it is now: one of those to read before the new current.
		again, err := os.Stat(name.path)
		if found != (err == nil) || found && !os.SameFile(current, again) {
			continue
		}
		if s, ok := newer(list, own, func(s sibling) bool {
			return s.info.Size() > 0 && !os.SameFile(s.info, own.info) &&
				(!found || !os.SameFile(s.info, current)) &&
				// A late line may have made the file before own look newer.
				(previous == nil || !os.SameFile(s.info, previous))
		}); ok {
			if next = s.openSame(); next == nil {
				continue
			}
			return next, true, nil
		}
		if !found || current.Size() == 0 {
			return nil, true, nil
		}
		next, err = openFile(name.path)
		switch {
		case err == nil && os.SameFile(next.info, current):
			return next, true, nil
		case err == nil:
			next.Close()
		case !missing(err):
			return nil, true, err
		}
	}
	return nil, true, nil
}

// newer is the oldest of the wanted files in list that are newer than own.
func newer(list []sibling, own *file, wanted func(sibling) bool) (sibling, bool) {
	after := slices.IndexFunc(list, func(s sibling) bool { return os.SameFile(s.info, own.info) }) + 1
	if after == 0 { // deleted, or moved out of sight
		info, err := own.Stat()
		if err != nil {
			return sibling{}, false
		}
		for after < len(list) && list[after].info.ModTime().Before(info.ModTime()) {
			after++
		}
	}
	i := slices.IndexFunc(list[after:], wanted)
	if i < 0 {
		return sibling{}, false
	}
	return list[after+i], true
}

// locate opens the file that p is a position in: the one at path, else the
// rotated one with its inode, else a copy. If there is none but the file was
// truncated and is there with what came after, exact is false; if there is not
// even that, found is nil. Only a file at path that cannot be read is an error.
func locate(ctx context.Context, name name, p Position) (found *file, exact bool, err error) {
	g, ok := parseGeneration(p.Generation)
	if !ok || p.Offset < 0 {
		return nil, false, nil
	}
	for range attempts {
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		current, err := openFile(name.path)
		if err == nil {
			if inode(current.info) == g.inode && current.holds(g, p) {
				return current, true, nil
			}
			current.Close()
		} else if !missing(err) {
			return nil, false, err
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
				return f, true, nil
			default:
				f.Close()
				cut = s
			}
		}
		if moved {
			continue
		}
		if copied := locateCopy(list, g, p); copied != nil {
			return copied, true, nil
		}
		if cut.path == "" || g.inode == 0 {
			return nil, false, nil
		}
		return cut.openSame(), false, nil
	}
	return nil, false, nil
}

// minCopyHead is how many first bytes must be alike before a file with another
// inode is taken for a copy.
const minCopyHead = 16

// locateCopy opens the newest file in list that begins as g says and has p's
// place, as one does that "copytruncate" or a similar tool has made.
func locateCopy(list []sibling, g generation, p Position) *file {
	if g.head < minCopyHead {
		return nil
	}
	for _, s := range slices.Backward(list) {
		if inode(s.info) == g.inode && g.inode != 0 || s.info.Size() < p.Offset {
			continue
		}
		f := s.openSame()
		if f == nil {
			continue
		}
		if f.holds(g, p) {
			return f
		}
		f.Close()
	}
	return nil
}
