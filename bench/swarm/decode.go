package main

import (
	"compress/gzip"
	"errors"
	"io"
	"iter"

	"github.com/klauspost/compress/zstd"
)

// decoder decodes the body of one client as it arrives. The decoders of libraries pull, but the swarm has one goroutine that pushes. So a
// decoder is a coroutine that runs until it needs more bytes.
type decoder struct {
	input  []byte
	resume func() (struct{}, bool)
	pause  func(struct{}) bool
	err    error
}

var errCoding = errors.New("unknown content coding")

// newDecoder calls take with each piece of the text.
func newDecoder(coding string, take func([]byte)) *decoder {
	d := new(decoder)
	d.resume, _ = iter.Pull(func(pause func(struct{}) bool) {
		d.pause = pause
		d.err = d.run(coding, take)
	})
	return d
}

func (d *decoder) run(coding string, take func([]byte)) error {
	var text io.Reader
	var err error
	switch coding {
	case "gzip":
		text, err = gzip.NewReader(d)
	case "zstd":
		text, err = zstd.NewReader(d, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	default:
		err = errCoding
	}
	if err != nil {
		return err
	}
	buffer := make([]byte, 4<<10)
	for {
		n, err := text.Read(buffer)
		take(buffer[:n])
		if err == io.EOF {
			return errEnd
		}
		if err != nil {
			return err
		}
	}
}

// Read provides the bytes that have arrived to the decoder, or waits for more.
func (d *decoder) Read(p []byte) (int, error) {
	for len(d.input) == 0 {
		d.pause(struct{}{})
	}
	n := copy(p, d.input)
	d.input = d.input[n:]
	return n, nil
}

// feed decodes the next bytes of the body.
func (d *decoder) feed(b []byte) error {
	d.input = b
	d.resume()
	return d.err
}
