package follow

import (
	"os"
	"path/filepath"
)

// identity identifies a file. The inode number alone is not enough, because it is reused after the file is deleted.
type identity struct {
	inode uint64 // 0 if the system has no inode numbers
	birth int64  // the time of creation, 0 if it is unknown
}

// birth is replaced in tests.
var birth = systemBirth

// identify returns the identity of an open file. If f is nil, it returns that of the file at path, which must not be a symbolic link.
func identify(info os.FileInfo, f *os.File, path string) identity {
	return identity{inode: inode(info), birth: birth(info, f, path)}
}

// identifyTarget returns the identity of the file that path leads to. It returns false if there is none.
func identifyTarget(path string) (identity, bool) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return identity{}, false
	}
	info, err := os.Lstat(target)
	if err != nil {
		return identity{}, false
	}
	return identify(info, nil, target), true
}

// sighting is a set of files, with their state when they were seen.
type sighting map[identity]stamp

// stamp changes when a file is written to or touched.
type stamp struct{ modified, size int64 }

func sight(list []sibling) sighting {
	seen := make(sighting, len(list))
	for _, s := range list {
		seen[s.id] = s.stamp()
	}
	return seen
}
