package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
)

// framing says how a burst of records is framed.
type framing struct {
	events  bool // each record as `data: …` and a blank line
	chunked bool // each burst as one chunk of RFC 9112 §7.1
}

// sender writes records to w in the given framing until w fails.
type sender func(w io.Writer, f framing)

func serveTCP(conn net.Conn, send sender) {
	// The next write notices that a reader has left. On a silent stream, this read does.
	go func() {
		_, _ = io.Copy(io.Discard, conn)
		conn.Close()
	}()
	send(conn, framing{})
}

// serveHTTP does not use net/http: it makes one write for a burst, so that the emitter is never slower than the server.
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
