package stream

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// DrainBody reads and discards the request's body while the stream runs, because backends do not read it. Over HTTP/1, the server
// notices that a client has left only after the body has been read. If the client is still sending when the stream ends, stop
// gives it a moment, so that it can read the response. stop does not wait for the whole body. An HTTP/1 connection is closed
// after the stream, so that the rest of the body is not taken for the next request.
func (g *Group) DrainBody(w http.ResponseWriter, r *http.Request) (stop func()) {
	if r.Body == nil || r.ContentLength == 0 { // Caddy wraps http.NoBody, too
		return func() {}
	}
	controller := http.NewResponseController(w)
	allowBodyAfterHeaders(w, r)
	// The server's read timeouts would end the stream.
	if reader, _ := caddyhttp.IdleTimeoutsFromContext(r.Context()); reader != nil {
		reader.Deadline.HardDeadline = time.Time{}
		reader.Override(noLimit, 0)
	}
	_ = controller.SetReadDeadline(time.Time{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, r.Body)
	}()
	return func() {
		select {
		case <-done:
		default:
			left := LastWrite
			if stall := g.StallTimeout; stall > 0 {
				left = min(left, stall/2) // the deadline for the last bytes of the response is not later
			}
			_ = controller.SetReadDeadline(time.Now().Add(left))
			<-done
		}
	}
}

// ReadBody reads the whole body of a request. It returns an error with the status 413 if the body has more than limit bytes. A
// shutdown does not wait for a client that sends slowly.
func (g *Group) ReadBody(w http.ResponseWriter, r *http.Request, limit int) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	s := g.New(w, r, func() { _ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)) })
	defer s.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(limit)+1))
	switch {
	case err != nil && s.Ended():
		return nil, s.refusal(err)
	case err != nil:
		return nil, caddyhttp.Error(http.StatusBadRequest, fmt.Errorf("reading the request's body: %w", err))
	case len(body) > limit:
		return nil, caddyhttp.Error(http.StatusRequestEntityTooLarge, fmt.Errorf("the body of a request that opens a shared upstream must not be larger than %d bytes", limit))
	}
	return body, nil
}

// LeaveBody lets the next handler read the request's body after the response has begun.
func (s *Stream) LeaveBody() {
	if s.Request.Body != nil && s.Request.ContentLength != 0 {
		allowBodyAfterHeaders(s.w, s.Request)
	}
}

// allowBodyAfterHeaders makes an HTTP/1 server send the headers without reading the request's body first.
func allowBodyAfterHeaders(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Connection", "close")
	}
}
