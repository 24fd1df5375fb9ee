//go:build !unix

package follow

import "os"

// inode returns 0. Without inode numbers, a file is identified only by its first bytes.
func inode(os.FileInfo) uint64 { return 0 }
