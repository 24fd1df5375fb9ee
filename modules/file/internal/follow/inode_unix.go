//go:build unix

package follow

import (
	"os"
	"syscall"
)

// inode returns the file's inode number, which a rename keeps.
func inode(info os.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Ino)
	}
	return 0
}
