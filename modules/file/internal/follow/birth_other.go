//go:build !linux && !darwin && !freebsd && !netbsd

package follow

import "os"

// systemBirth returns 0: the time when a file was created is not known.
func systemBirth(os.FileInfo, *os.File, string) int64 { return 0 }
