package stream

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// How long a stream that is reset stays open after its last bytes. Clients may discard what they have not read when the
// reset comes. An HTTP/2 client has the bytes already, and only has to read them. On HTTP/3 they are on their way, and
// lost ones are not sent again after a reset.
const (
	resetDelayHTTP2 = 100 * time.Millisecond
	resetDelayHTTP3 = time.Second
)

// BrokenOff is the key of a context's *atomic.Bool that a next handler sets if it is an sse, too, and breaks its stream
// off: it is for the outer one to do so then.
const BrokenOff = caddy.CtxKey("sse_broken_off")

// breakOff ends the response so that the client sees that more was to come: an HTTP/1.1 response lacks its last chunk,
// an HTTP/2 or HTTP/3 stream is reset.
//
// A panic with http.ErrAbortHandler would do that, too, but Caddy then logs a duration of 0 and observes no metrics.
// So the handler returns as usual, and net/http finds that it cannot write the end.
func (s *Stream) breakOff() {
	if outer, ok := s.Request.Context().Value(BrokenOff).(*atomic.Bool); ok {
		outer.Store(true)
		return
	}
	s.discardWrites()
	if streamer, ok := s.inner.(http3.HTTPStreamer); ok {
		stream := streamer.HTTPStream() // from here on it is ours to end
		stream.CancelRead(quic.StreamErrorCode(http3.ErrCodeNoError))
		if s.cut { // what is on its way is no whole event, and may not even fit its frame
			stream.CancelWrite(quic.StreamErrorCode(http3.ErrCodeInternalError))
			return
		}
		time.AfterFunc(resetDelayHTTP3, func() { stream.CancelWrite(quic.StreamErrorCode(http3.ErrCodeInternalError)) })
		return
	}
	if s.Request.ProtoMajor == 2 && !s.cut {
		delay := time.NewTimer(resetDelayHTTP2)
		defer delay.Stop()
		select {
		case <-delay.C:
		case <-s.Request.Context().Done():
		}
	}
	// On HTTP/2 a deadline in the past resets the stream at once. On HTTP/1 it fails the write of the last chunk, after
	// which net/http closes the connection.
	_ = http.NewResponseController(s.inner).SetWriteDeadline(time.Unix(1, 0))
}

// discardWrites keeps what the writers around ours still say from the client, such as the trailer of encode's gzip, and
// their failures from the access log.
func (s *Stream) discardWrites() {
	if _, writer := caddyhttp.IdleTimeoutsFromContext(s.Request.Context()); writer != nil {
		writer.ResponseWriterWrapper = &caddyhttp.ResponseWriterWrapper{ResponseWriter: discarded{writer.ResponseWriter}}
	}
}

// discarded is a response that takes nothing any more.
type discarded struct{ http.ResponseWriter }

func (discarded) Write(p []byte) (int, error) { return len(p), nil }
func (discarded) FlushError() error           { return nil }

// Unwrap lets writers set deadlines.
func (d discarded) Unwrap() http.ResponseWriter { return d.ResponseWriter }

// innermostWriter is the server's own writer, below those of all handlers.
func innermostWriter(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}
