package follow

import (
	"os"

	"golang.org/x/sys/unix"
)

// systemBirth returns the time when an open file was created. If f is nil, it returns that of the file at path. It returns 0 if the
// file system or the kernel does not know.
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
