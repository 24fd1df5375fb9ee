package sse

import (
	"fmt"
	"net"
	"syscall"

	"go.uber.org/zap"
)

const (
	// largestUDP is the largest datagram by UDP's length field of 16 bits.
	largestUDP = 64 << 10

	// largestDatagram is the largest that is taken whole. A unix socket's may be as large as its sender's buffer, which
	// without privileges is a few MiB.
	largestDatagram = 16 << 20
)

// receive takes datagrams, each of which is one or more whole records.
func receive(socket net.PacketConn, sink Sink, warn func(string, ...zap.Field)) error {
	input, err := sink.Open("")
	if err != nil {
		return err
	}
	raw := rawSocket(socket)
	for buf := make([]byte, largestUDP+1); ; { // one byte more tells what has been cut
		if raw != nil {
			size, err := nextDatagram(raw)
			if err != nil {
				return fmt.Errorf("receiving: %w", err)
			}
			if size >= len(buf) && len(buf) <= largestDatagram {
				buf = make([]byte, min(size, largestDatagram)+1)
			}
		}
		n, _, err := socket.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("receiving: %w", err)
		}
		if _, err := input.Write(buf[:n]); err != nil {
			return err
		}
		whole := n < len(buf)
		if err := input.End(whole); err != nil {
			return err
		}
		if !whole {
			warn("datagram cut, as it is too large", zap.Int("most", len(buf)-1))
			if err := input.Gap(); err != nil {
				return err
			}
		}
	}
}

// rawSocket finds a unix socket within what Caddy puts around it. It is nil if there is none, as UDP's datagrams have
// room in any case.
func rawSocket(socket net.PacketConn) syscall.RawConn {
	for {
		if wrapped, ok := socket.(interface{ Unwrap() net.PacketConn }); ok {
			socket = wrapped.Unwrap()
			continue
		}
		unixSocket, ok := socket.(*net.UnixConn)
		if !ok {
			return nil
		}
		raw, err := unixSocket.SyscallConn()
		if err != nil {
			return nil
		}
		return raw
	}
}
