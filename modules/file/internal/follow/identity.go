package follow

import (
	"os"
	"path/filepath"
)

// identity tells a file from all others. The inode number alone does not, as it is reused once its file is gone. So the
// time of birth goes with it.
type identity struct {
	inode uint64 // 0 where the system has no inode numbers
	birth int64  // 0 where it is unknown
}

// birth is replaced in tests.
var birth = systemBirth

// identify names an open file, or if f is nil the one at path, which is no symbolic link.
func identify(info os.FileInfo, f *os.File, path string) identity {
	return identity{inode: inode(info), birth: birth(info, f, path)}
}

// identifyTarget names the file that path leads to, if there is one.
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

// sighting is a set of files as they were when they were seen.
type sighting map[identity]stamp

// stamp is what changes when a file is written to or touched.
type stamp struct{ modified, size int64 }

func sight(list []sibling) sighting {
	seen := make(sighting, len(list))
	for _, s := range list {
		seen[s.id] = s.stamp()
	}
	return seen
}
