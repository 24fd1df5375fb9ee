package listen

import (
	"fmt"
	"net"
	"syscall"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"go.uber.org/zap"
)

const (
	// largestUDP is the size of the largest UDP datagram: its length field has 16 bits.
	largestUDP = 64 << 10

	// largestDatagram is the size of the largest datagram that is not cut. On a unix socket, a datagram may be as large as the
	// sender's buffer, which is a few MiB for an unprivileged sender.
	largestDatagram = 16 << 20
)

// receive reads datagrams. Each has one or more whole records.
func receive(socket net.PacketConn, sink backend.Sink, warn func(string, ...zap.Field)) error {
	input, err := sink.Open("")
	if err != nil {
		return err
	}
	raw := rawSocket(socket)
	for buf := make([]byte, largestUDP+1); ; { // one byte more than needed, so that a full buffer means a cut datagram
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

// rawSocket returns the unix socket that Caddy has wrapped. It returns nil for UDP, whose datagrams always fit into the buffer.
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
