//go:build !linux

package listen

import "syscall"

// nextDatagram cannot find out the size of the next datagram. By default, BSD and macOS allow no datagram larger than the buffer.
func nextDatagram(syscall.RawConn) (size int, err error) { return 0, nil }
