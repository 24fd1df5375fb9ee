//go:build !linux

package listen

import "syscall"

// nextDatagram does not know the size of the next datagram. By default, BSD and macOS allow none that is larger than the
// buffer.
func nextDatagram(syscall.RawConn) (size int, err error) { return 0, nil }
