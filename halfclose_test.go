package sse_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// net/http takes a client that closes its own side of the connection for one that has left, though it may still read.
func TestAClientThatClosesItsSideOnlySeesThatMoreWasToCome(t *testing.T) {
	ssetest.NoLeaks(t)
	for _, contentType := range []string{ndjson, "text/event-stream"} {
		for _, method := range []string{"GET", "POST"} {
			t.Run(contentType+" "+method, func(t *testing.T) {
				upstream := newScript(contentType)
				server := ssetest.Start(t, site("", "reverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)))
				connection, err := net.Dial("tcp", server.Addr("http"))
				if err != nil {
					t.Fatal(err)
				}
				defer connection.Close()
				fmt.Fprintf(connection, "%s / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", method)
				upstream.say("data: 1\n\n")
				response, err := http.ReadResponse(bufio.NewReader(connection), nil)
				if err != nil {
					t.Fatal(err)
				}
				_ = connection.(*net.TCPConn).CloseWrite()
				if text, err := io.ReadAll(response.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("got %q and %v, want an unexpected end", text, err)
				}
			})
		}
	}
}
