//go:build !linux

package sse

import "syscall"

// nextDatagram does not know the size of what comes: by default, BSD and macOS allow no datagrams beyond the room that
// there is.
func nextDatagram(syscall.RawConn) (size int, err error) { return 0, nil }
