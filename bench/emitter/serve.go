package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
)

// framing is what one burst of records becomes on the wire.
type framing struct {
	events  bool // each record as `data: …` and a blank line
	chunked bool // each burst as one chunk of RFC 9112 §7.1
}

// sender writes records to w in the given framing until w fails.
type sender func(w io.Writer, f framing)

func serveTCP(conn net.Conn, send sender) {
	// A reader that leaves is noticed by the next write, and one that leaves a
	// silent stream by this read.
	go func() {
		_, _ = io.Copy(io.Discard, conn)
		conn.Close()
	}()
	send(conn, framing{})
}

// serveHTTP answers by hand rather than through net/http: one write for a
// burst, and nothing in the emitter that could be slower than the server.
func serveHTTP(conn net.Conn, events bool, send sender) {
	buffered := bufio.NewReader(conn)
	request, err := http.ReadRequest(buffered)
	if err != nil {
		return
	}
	contentType := "application/x-ndjson"
	if events {
		contentType = "text/event-stream"
	}
	_, err = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n", contentType)
	if err != nil || request.Method == http.MethodHead {
		return
	}
	go func() {
		_, _ = io.Copy(io.Discard, buffered)
		conn.Close()
	}()
	send(conn, framing{events: events, chunked: true})
}
