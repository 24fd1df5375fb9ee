package sse

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/seed-4dedbcea/caddy-sse/backend"
)

// decoderWindow bounds the memory that a zstd upstream can make us use: the window that RFC 8878 §3.1.1.1.2
// says every decoder should support.
const decoderWindow = 8 << 20

// decoding finds what decodes a Content-Encoding, nil if there is nothing to decode.
func decoding(values []string) (func(io.Reader) (io.ReadCloser, error), error) {
	encodings := strings.Split(strings.ToLower(strings.Join(values, ",")), ",")
	for i, name := range encodings {
		encodings[i] = strings.TrimSpace(name)
	}
	encodings = slices.DeleteFunc(encodings, func(name string) bool { return name == "" || name == "identity" })
	switch encoding := strings.Join(encodings, ", "); encoding {
	case "":
		return nil, nil
	case "gzip", "x-gzip":
		return newGzipReader, nil
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

// gzipReader reads one member after the other, each as soon as it is there: gzip.Reader would hold back the end of one
// until the next begins. It ignores what follows the last member and is none, as gzip itself and browsers do.
type gzipReader struct {
	from   *bufio.Reader
	member *gzip.Reader
	ended  bool // the member has; another may follow
}

func newGzipReader(r io.Reader) (io.ReadCloser, error) {
	from := bufio.NewReader(r)
	member, err := gzip.NewReader(from)
	if err != nil {
		return nil, err
	}
	member.Multistream(false)
	return &gzipReader{from: from, member: member}, nil
}

func (r *gzipReader) Read(p []byte) (int, error) {
	for {
		if r.ended {
			if err := r.nextMember(); err != nil {
				return 0, err
			}
		}
		n, err := r.member.Read(p)
		if r.ended = err == io.EOF; r.ended {
			err = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (r *gzipReader) nextMember() error {
	magic, err := r.from.Peek(2)
	if len(magic) == 0 {
		return err
	}
	if !bytes.HasPrefix([]byte("\x1f\x8b"), magic) {
		if _, err := io.Copy(io.Discard, r.from); err != nil {
			return err
		}
		return io.EOF
	}
	if err := r.member.Reset(r.from); err != nil {
		return err
	}
	r.member.Multistream(false)
	r.ended = false
	return nil
}

func (r *gzipReader) Close() error { return r.member.Close() }

// decoder feeds decoded bytes to an input. Compressed bytes are written to us, but decoders read: so they read on
// a goroutine of their own that ends with close. It runs only while a Write waits for it, so that what it finds
// wrong with the bytes is the error of the Write that brought them.
type decoder struct {
	chunks chan []byte   // closed when there are no more
	hungry chan struct{} // all that was written is decoded
	done   chan struct{} // it has ended, with err
	err    error
	clean  bool
}

func newDecoder(newReader func(io.Reader) (io.ReadCloser, error), to io.Writer) *decoder {
	d := &decoder{chunks: make(chan []byte), hungry: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(d.done)
		d.err = decode(newReader, &chunkReader{decoder: d}, to)
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
	w := &backend.Writer{To: to}
	if err := backend.Copy(w, r, backend.ReadSize); err != nil && w.Err == nil {
		return fmt.Errorf("decoding upstream's response: %w", err)
	}
	return w.Err
}

// chunkReader is what the decoder's goroutine reads.
type chunkReader struct {
	decoder *decoder
	chunk   []byte
	asked   bool
}

func (r *chunkReader) Read(p []byte) (int, error) {
	for len(r.chunk) == 0 {
		if r.asked {
			r.asked = false
			r.decoder.hungry <- struct{}{}
		}
		chunk, more := <-r.decoder.chunks
		if !more {
			if r.decoder.clean {
				return 0, io.EOF
			}
			return 0, errUpstreamBroke
		}
		r.chunk, r.asked = chunk, true
	}
	n := copy(p, r.chunk)
	r.chunk = r.chunk[n:]
	return n, nil
}

func (d *decoder) Write(p []byte) (int, error) {
	select {
	case d.chunks <- p:
	case <-d.done:
		return 0, d.failure()
	}
	select {
	case <-d.hungry:
		return len(p), nil
	case <-d.done:
		return 0, d.failure()
	}
}

func (d *decoder) failure() error {
	if d.err == nil {
		return errors.New("decoding upstream's response: there is more after its end")
	}
	return d.err
}

// close ends the decoder. It returns what went wrong with the bytes, if clean says that the upstream had sent
// them all.
func (d *decoder) close(clean bool) error {
	d.clean = clean
	close(d.chunks)
	<-d.done
	if errors.Is(d.err, errUpstreamBroke) {
		return nil
	}
	return d.err
}
