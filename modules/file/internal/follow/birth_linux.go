package follow

import (
	"os"

	"golang.org/x/sys/unix"
)

// systemBirth returns when an open file was made, or the one at path if f is nil. It is 0 if the file system or the kernel
// does not know.
func systemBirth(_ os.FileInfo, f *os.File, path string) int64 {
	var st unix.Statx_t
	var err error
	if f != nil {
		err = unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &st)
	} else {
		err = unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BTIME, &st)
	}
	if err != nil || st.Mask&unix.STATX_BTIME == 0 {
		return 0
	}
	return st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
}
