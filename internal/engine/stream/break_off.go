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

// The time between the last bytes of a stream and its reset. When the reset arrives, a client may discard bytes that it has not
// read. An HTTP/2 client has received them before the reset, and only has to read them. Over HTTP/3, they may still be on their
// way, and lost ones are not sent again after a reset.
const (
	resetDelayHTTP2 = 100 * time.Millisecond
	resetDelayHTTP3 = time.Second
)

// BrokenOff is the context key of an *atomic.Bool. If the next handler is an sse too and wants to break its stream off, it sets
// this flag, and the outer sse breaks the stream off.
const BrokenOff = caddy.CtxKey("sse_broken_off")

// breakOff ends the response so that the client notices that it is incomplete. An HTTP/1.1 response has no last chunk. An HTTP/2 or
// HTTP/3 stream is reset.
//
// A panic with http.ErrAbortHandler would do that too, but Caddy would then log a duration of 0 and observe no metrics. So the
// handler returns as usual, and net/http fails to write the end.
func (s *Stream) breakOff() {
	if outer, ok := s.Request.Context().Value(BrokenOff).(*atomic.Bool); ok {
		outer.Store(true)
		return
	}
	s.discardWrites()
	if streamer, ok := s.inner.(http3.HTTPStreamer); ok {
		stream := streamer.HTTPStream() // from here on, the server does not end it
		stream.CancelRead(quic.StreamErrorCode(http3.ErrCodeNoError))
		if s.cut { // the last event is incomplete, and perhaps its HTTP/3 frame
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
	// On HTTP/2, a deadline in the past resets the stream at once. On HTTP/1, it makes the write of the last chunk fail, and
	// net/http closes the connection.
	_ = http.NewResponseController(s.inner).SetWriteDeadline(time.Unix(1, 0))
}

// discardWrites discards what outer handlers still write, such as the trailer of encode's gzip. Otherwise the client would get
// it, or its failure would be logged.
func (s *Stream) discardWrites() {
	if _, writer := caddyhttp.IdleTimeoutsFromContext(s.Request.Context()); writer != nil {
		writer.ResponseWriterWrapper = &caddyhttp.ResponseWriterWrapper{ResponseWriter: discarded{writer.ResponseWriter}}
	}
}

// discarded is a response that ignores all writes.
type discarded struct{ http.ResponseWriter }

func (discarded) Write(p []byte) (int, error) { return len(p), nil }
func (discarded) FlushError() error           { return nil }

// Unwrap lets writers set deadlines.
func (d discarded) Unwrap() http.ResponseWriter { return d.ResponseWriter }

// innermostWriter returns the server's own writer, which the writers of all handlers wrap.
func innermostWriter(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}
