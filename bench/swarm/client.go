package main

import (
	"bytes"
	"errors"
	"strings"
)

// client is one connection. It has no goroutine and, between reads, no buffer except for an unfinished line.
type client struct {
	fd     int
	state  state
	left   int64 // bytes of the chunk still to come
	parser parser

	coding  string // of the body, empty without one
	decoder *decoder
	now     int64 // the arrival time of the bytes being decoded
}

type state uint8

const (
	connecting  state = iota
	inHead            // reading the response's header section
	inBody            // a body that lasts as long as the connection
	inChunkSize       // RFC 9112 §7.1
	inChunk
	afterChunk // the CRLF that ends a chunk
	closed
)

// maxHead is the largest size of the response's header section, in bytes.
const maxHead = 16 << 10

var (
	errHead  = errors.New("the header section is no HTTP/1.1 200 response of the expected type")
	errChunk = errors.New("the chunked coding is broken")
	errEnd   = errors.New("the response ended")
)

// receive reads the bytes that have arrived at now, in nanoseconds since the Unix epoch. opened reports whether the header section has
// just been read.
func (c *client) receive(b []byte, now int64, e *expect, sum *counters) (opened bool, err error) {
	for len(b) > 0 {
		switch c.state {
		case inHead:
			// Bytes are copied only here, once per client, to find the end of the header section.
			before := len(c.parser.rest)
			c.parser.rest = append(c.parser.rest, b...)
			end := bytes.Index(c.parser.rest, []byte("\r\n\r\n"))
			if end < 0 {
				if len(c.parser.rest) > maxHead {
					return opened, errHead
				}
				return opened, nil
			}
			c.state, c.coding, err = head(string(c.parser.rest[:end]), e)
			if err != nil {
				return opened, err
			}
			b = b[end+4-before:]
			c.parser.rest = c.parser.rest[:0]
			opened = true
		case inBody:
			return opened, c.body(b, now, e, sum)
		case inChunkSize:
			switch digit := hex(b[0]); {
			case digit >= 0 && c.left < 1<<40:
				c.left = c.left<<4 + digit
			case b[0] == '\n':
				if c.left == 0 {
					return opened, errEnd
				}
				c.state = inChunk
			case b[0] != '\r':
				return opened, errChunk
			}
			b = b[1:]
		case inChunk:
			n := min(c.left, int64(len(b)))
			if err := c.body(b[:n], now, e, sum); err != nil {
				return opened, err
			}
			b = b[n:]
			if c.left -= n; c.left == 0 {
				c.state = afterChunk
			}
		case afterChunk:
			switch b[0] {
			case '\r':
			case '\n':
				c.state = inChunkSize
			default:
				return opened, errChunk
			}
			b = b[1:]
		}
	}
	return opened, nil
}

// body takes the next bytes of the encoded body.
func (c *client) body(b []byte, now int64, e *expect, sum *counters) error {
	if c.coding == "" {
		c.parser.feed(b, now, e, sum)
		return nil
	}
	if c.decoder == nil {
		c.decoder = newDecoder(c.coding, func(text []byte) { c.parser.feed(text, c.now, e, sum) })
	}
	c.now = now
	return c.decoder.feed(b)
}

// head parses the header section, which says how the body is framed and encoded.
func head(section string, e *expect) (next state, coding string, err error) {
	status, fields, _ := strings.Cut(section, "\r\n")
	if !strings.HasPrefix(status, "HTTP/1.1 200") {
		return closed, "", errHead
	}
	typed := false
	next = inBody
	for line := range strings.SplitSeq(fields, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		value = strings.ToLower(strings.TrimSpace(value))
		switch strings.ToLower(name) {
		case "content-type":
			typed = e.ndjson || strings.HasPrefix(value, "text/event-stream")
		case "content-encoding":
			coding = value
		case "content-length":
			return closed, "", errHead
		case "transfer-encoding":
			next = inChunkSize
		}
	}
	if !typed || coding != e.coding {
		return closed, "", errHead
	}
	return next, coding, nil
}

func hex(c byte) int64 {
	switch {
	case '0' <= c && c <= '9':
		return int64(c - '0')
	case 'a' <= c && c <= 'f':
		return int64(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int64(c-'A') + 10
	}
	return -1
}
