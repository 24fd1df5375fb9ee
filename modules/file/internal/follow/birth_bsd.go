//go:build darwin || freebsd || netbsd

package follow

import (
	"os"
	"syscall"
)

// systemBirth returns the time when a file was created, or 0 if the file system does not know.
func systemBirth(info os.FileInfo, _ *os.File, _ string) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Birthtimespec.Sec > 0 {
		return st.Birthtimespec.Nano()
	}
	return 0
}
