package httpbody

import (
	"errors"
	"fmt"
	"io"

	"github.com/seed-4dedbcea/caddy-sse/backend"
)

// decoder decodes the bytes that are written to it, and writes the result to an input. A decompressor reads instead, so it has a
// goroutine of its own, which ends with close. The goroutine runs only while a Write waits for it. So an error in the bytes is
// returned by the Write that brought them. io.Pipe does less: its Write returns too early.
type decoder struct {
	chunks chan []byte   // closed after the last chunk
	hungry chan struct{} // receives a value when a chunk is decoded
	done   chan struct{} // closed when the goroutine has ended; err is valid then
	err    error
	clean  bool
}

func newDecoder(open newReader, to io.Writer) *decoder {
	d := &decoder{chunks: make(chan []byte), hungry: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(d.done)
		d.err = decode(open, &chunkReader{decoder: d}, to)
	}()
	return d
}

func decode(open newReader, from io.Reader, to io.Writer) error {
	r, err := open(from)
	if err == io.EOF {
		return nil // an empty body
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

// errCutOff ends the decoder of an incomplete body.
var errCutOff = errors.New("upstream broke off its response")

// chunkReader provides the chunks to the decoder's goroutine.
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
			return 0, errCutOff
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

// close ends the decoder. If clean is true, the body is complete, and close returns the error of its end.
func (d *decoder) close(clean bool) error {
	d.clean = clean
	close(d.chunks)
	<-d.done
	if errors.Is(d.err, errCutOff) {
		return nil
	}
	return d.err
}
