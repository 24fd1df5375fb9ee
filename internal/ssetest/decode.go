package ssetest

import (
	"compress/gzip"
	"io"
	"net/http"

	"github.com/klauspost/compress/zstd"
)

// Compressed makes the client accept these content codings.
func Compressed(acceptEncoding string) func(*http.Request) {
	return With("Accept-Encoding", acceptEncoding)
}

// Decoded returns the decoded body of a response. If the response ends before the end of its content coding, reads return an error.
func Decoded(response *http.Response) io.ReadCloser { return &decoder{response: response} }

// decoder creates the decoder at the first read, because that needs the first bytes.
type decoder struct {
	response *http.Response
	text     io.Reader
}

func (d *decoder) Read(p []byte) (n int, err error) {
	body := d.response.Body
	if d.text == nil {
		switch d.response.Header.Get("Content-Encoding") {
		case "gzip":
			d.text, err = gzip.NewReader(body)
		case "zstd":
			d.text, err = zstd.NewReader(body, zstd.WithDecoderConcurrency(1)) // without goroutines
		default:
			d.text = body
		}
		if err != nil {
			d.text = nil
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
	}
	return d.text.Read(p)
}

func (d *decoder) Close() error {
	if z, ok := d.text.(*zstd.Decoder); ok {
		z.Close()
	}
	return d.response.Body.Close()
}
