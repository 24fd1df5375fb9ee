package compress

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

var codings = []Coding{Zstd, Gzip}

// decode decodes a stream with another's decoder, as far as it has come. ended tells whether it has its end.
func decode(t *testing.T, c Coding, stream []byte) (text []byte, ended bool) {
	t.Helper()
	var r io.Reader
	var err error
	if c == Gzip {
		r, err = gzip.NewReader(bytes.NewReader(stream))
	} else {
		r, err = zstd.NewReader(bytes.NewReader(stream), zstd.WithDecoderConcurrency(1)) // without goroutines to be closed
	}
	if err != nil {
		t.Fatalf("%s: %v", c, err)
	}
	text, err = io.ReadAll(r)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("%s: after %d bytes: %v", c, len(text), err)
	}
	return text, err == nil
}

// FuzzText compresses a text with a history of any length.
func FuzzText(f *testing.F) {
	f.Add([]byte(nil), uint(0))
	f.Add([]byte(":\n"), uint(0))
	f.Add([]byte(strings.Repeat("data: {\"n\":1}\n\n", 9)), uint(15))
	f.Add([]byte(strings.Repeat("a", 70_000)), uint(3))
	f.Add(mixed(1_000), uint(10))
	f.Add(mixed(100_000), uint(9_000))
	f.Fuzz(func(t *testing.T, src []byte, start uint) {
		at := int(start % uint(len(src)+1))
		for _, c := range codings {
			e := NewEncoder(c)
			stream := e.Append(nil, src[:at]) // as one text or, if it is long, several
			e.sum.add(src[at:])
			stream = c.appendText(stream, src, at)
			text, ended := decode(t, c, stream)
			if !bytes.Equal(text, src) || ended {
				t.Fatalf("%s: %d bytes became %d, ended %t", c, len(src), len(text), ended)
			}
			if text, ended = decode(t, c, e.AppendEnd(stream)); !bytes.Equal(text, src) || !ended {
				t.Fatalf("%s: with its end, %d bytes became %d, ended %t", c, len(src), len(text), ended)
			}
		}
	})
}

// FuzzStreams has clients that share a text join at any time, fall behind, lose a part of it, and get texts of their own.
func FuzzStreams(f *testing.F) {
	f.Add([]byte("data: {\"symbol\":\"ACME\",\"price\":12}\n\n"), []byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"))
	f.Add(mixed(300), bytes.Repeat([]byte("\x07\x00\x20\x31\x42\x00\x00\x53\x00\x00\x00\x90\xa1"), 9))
	f.Add(mixed(3_000), bytes.Repeat([]byte("\x00\x11\x00\x22\x00\x33\x80\x00"), 40))
	f.Add(mixed(500), []byte("\x02"+strings.Repeat("\x00", 20)+"\x12\x05\x00\x00\x00\x16\x22\x00\x00\x32\x00\x00\x07\x00\x00\x15\x00\x00\x06\x00\x06\x00\x00\x00\x02\x00\x00\x07\x00\x02\x00\x00\x04\x02\x00\x00"))
	f.Add([]byte("x"), bytes.Repeat([]byte{0, 0, 0, 0x10, 0x21, 0x32, 0x43}, 50))
	f.Fuzz(func(t *testing.T, event, script []byte) {
		if len(event) > 4<<10 || len(script) > 400 {
			return
		}
		var shared Shared
		var text []byte // what is shared
		clients := make([]*sharer, 8)
		for i := range clients {
			clients[i] = &sharer{coding: codings[i%2], encoder: NewEncoder(codings[i%2])}
		}
		for i, op := range script {
			c := clients[int(op>>4)%len(clients)]
			switch op & 7 {
			case 0, 1: // all get what is new
				from := i * 37 % (len(event) + 1)
				text = append(fmt.Appendf(text, "id: %d\n%s", i, event[from:]), event[:from]...)
				for _, c := range clients {
					if c.follows {
						c.take(&shared, text, 0)
					}
				}
			case 2: // joins, or falls behind
				c.follows = !c.follows
				if c.joined {
					continue
				}
				c.joined, c.at = true, len(text)
				c.own(event)
			case 3: // comes back
				c.take(&shared, text, 0)
			case 4: // what is before the piece is not all at hand
				c.take(&shared, text, int(op>>3)*200)
			case 5:
				c.own([]byte(":\n"))
			case 6:
				c.own(event)
			case 7: // loses what is new, and follows on
				c.at, c.follows = len(text), true
			}
			if i%4 == 0 {
				c.check(t)
			}
		}
		for _, c := range clients {
			c.take(&shared, text, 0)
			c.check(t)
			c.stream = c.encoder.AppendEnd(c.stream)
			if got, ended := decode(t, c.coding, c.stream); !bytes.Equal(got, c.text) || !ended {
				t.Fatalf("%s: %d bytes became %d, ended %t", c.coding, len(c.text), len(got), ended)
			}
		}
	})
}

// sharer is a client of a text that is shared.
type sharer struct {
	coding          Coding
	encoder         *Encoder
	joined, follows bool
	at              int // in the text

	text   []byte // what it is to get
	stream []byte
}

func (c *sharer) own(text []byte) {
	c.text = append(c.text, text...)
	c.stream = c.encoder.Append(c.stream, text)
}

func (c *sharer) take(s *Shared, text []byte, from int) {
	if c.at == len(text) {
		return
	}
	from = min(from, c.at)
	c.text = append(c.text, text[c.at:]...)
	c.stream = c.encoder.AppendShared(c.stream, s, Piece{Text: text[from:], Start: c.at - from, From: uint64(c.at), To: uint64(len(text))})
	c.at = len(text)
}

// check checks that all has arrived, though more may come.
func (c *sharer) check(t *testing.T) {
	t.Helper()
	if len(c.stream) == 0 {
		return
	}
	if got, ended := decode(t, c.coding, c.stream); !bytes.Equal(got, c.text) || ended {
		t.Fatalf("%s: %d bytes became %d, ended %t", c.coding, len(c.text), len(got), ended)
	}
}

// mixed returns n bytes that repeat in part, and in part not.
func mixed(n int) []byte {
	var text []byte
	state := uint32(1)
	for len(text) < n {
		state = state*1664525 + 1013904223
		switch state >> 29 {
		case 0, 1, 2:
			text = append(text, byte(state>>16), byte(state>>8), byte(state>>20))
		case 3, 4, 5:
			text = fmt.Appendf(text, "data: {\"n\":%d,\"name\":\"%x\"}\n\n", state>>8, state>>20)
		default:
			if length := int(state>>8) % 3000; length < len(text) {
				text = append(text, text[len(text)-length:]...)
			}
		}
	}
	return text[:n]
}
