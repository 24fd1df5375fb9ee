// Package feed reads the emitter's global feed for peers that need a publisher.
package feed

import (
	"bufio"
	"context"
	"fmt"
	"net"
)

// maxRecord is the size of the longest line in the feed, in bytes.
const maxRecord = 1 << 20

// Read connects to the emitter's TCP address and calls publish for each record,
// without its line feed, until the feed ends or ctx is done. The bytes are
// valid only during the call.
func Read(ctx context.Context, address string, publish func(record []byte) error) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("connecting to the emitter: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	lines := bufio.NewScanner(conn)
	lines.Buffer(make([]byte, 64<<10), maxRecord)
	for lines.Scan() {
		if err := publish(lines.Bytes()); err != nil {
			return fmt.Errorf("publishing: %w", err)
		}
	}
	if err := lines.Err(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("reading the feed: %w", err)
	}
	return nil
}
