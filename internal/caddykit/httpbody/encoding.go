package httpbody

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// decoderWindow limits the memory for a zstd decoder. RFC 8878 §3.1.1.1.2 recommends that decoders support at least this window.
const decoderWindow = 8 << 20

// newReader returns a reader that decodes another one.
type newReader func(io.Reader) (io.ReadCloser, error)

// decoding returns the decoder for a Content-Encoding, or nil if there is none.
func decoding(values []string) (newReader, error) {
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
			// Concurrency 1 decodes each block as it arrives. Look-ahead would delay records.
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

// gzipReader reads several members. gzip.Reader would hold back the end of a member until the next one begins. As gzip itself and
// browsers do, it ignores other bytes after the last member.
type gzipReader struct {
	from   *bufio.Reader
	member *gzip.Reader
	ended  bool // the member has ended; another may follow
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
