package listen

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// nextDatagram waits for a datagram and returns its size. See MSG_TRUNC in recv(2), and unix(7).
func nextDatagram(socket syscall.RawConn) (size int, err error) {
	waitErr := socket.Read(func(fd uintptr) (done bool) {
		for {
			size, _, err = unix.Recvfrom(int(fd), nil, unix.MSG_PEEK|unix.MSG_TRUNC)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	if waitErr != nil {
		return 0, waitErr
	}
	return size, err
}
