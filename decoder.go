package sse

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// decoderWindow bounds the memory that a zstd upstream can make us use: the window that RFC 8878 §3.1.1.1.2
// says every decoder should support.
const decoderWindow = 8 << 20

// decoding finds what decodes a Content-Encoding, nil if there is nothing to decode.
func decoding(encoding string) (func(io.Reader) (io.ReadCloser, error), error) {
	switch encoding {
	case "", "identity":
		return nil, nil
	case "gzip", "x-gzip":
		return func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }, nil
	case "zstd":
		return func(r io.Reader) (io.ReadCloser, error) {
			// One block after the other, as they come: look-ahead would hold records back.
			d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(decoderWindow))
			if err != nil {
				return nil, err
			}
			return d.IOReadCloser(), nil
		}, nil
	default:
		return nil, fmt.Errorf("upstream's response is encoded as %q although it was asked for identity; only gzip and zstd can be decoded", encoding)
	}
}

// decoder feeds decoded bytes to an input. Compressed bytes are written to us, but decoders read: so they read
// from a pipe, on a goroutine of their own that ends with close.
type decoder struct {
	pipe *io.PipeWriter
	done chan error
}

func newDecoder(newReader func(io.Reader) (io.ReadCloser, error), to io.Writer) *decoder {
	r, w := io.Pipe()
	d := &decoder{pipe: w, done: make(chan error, 1)}
	go func() {
		err := decode(newReader, r, to)
		r.CloseWithError(err) // a write that waits for us must not wait for ever
		d.done <- err
	}()
	return d
}

func decode(newReader func(io.Reader) (io.ReadCloser, error), from io.Reader, to io.Writer) error {
	r, err := newReader(from)
	if err == io.EOF {
		return nil // nothing at all
	}
	if err != nil {
		return fmt.Errorf("decoding upstream's response: %w", err)
	}
	defer r.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("decoding upstream's response: %w", err)
		}
	}
}

func (d *decoder) Write(p []byte) (int, error) { return d.pipe.Write(p) }

// close waits until all that was written is decoded. It returns what went wrong with it.
func (d *decoder) close(clean bool) error {
	if clean {
		d.pipe.Close()
	} else {
		d.pipe.CloseWithError(errUpstreamBroke)
	}
	if err := <-d.done; err != nil && !errors.Is(err, errUpstreamBroke) {
		return err
	}
	return nil
}
