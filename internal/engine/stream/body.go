package stream

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// DrainBody reads the request's body beside the stream, since no backend does: over HTTP/1 the server notices that a
// client has left only once the body has been read. A client that is still sending when the stream ends has a moment left,
// or it would be cut off from the response. The rest of the body is not waited for. An HTTP/1 connection ends with the
// stream, so that the rest is not taken for the next request.
func (g *Group) DrainBody(w http.ResponseWriter, r *http.Request) (stop func()) {
	if r.Body == nil || r.ContentLength == 0 { // Caddy wraps http.NoBody, too
		return func() {}
	}
	controller := http.NewResponseController(w)
	allowBodyAfterHeaders(w, r)
	// The server's timeouts for reading it would end the stream.
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
				left = min(left, stall/2) // the response's last bytes have no longer than that
			}
			_ = controller.SetReadDeadline(time.Now().Add(left))
			<-done
		}
	}
}

// ReadBody reads the whole body of a request, which may have that many bytes. A stop does not wait for a client that is slow
// to send it.
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

// LeaveBody lets the next handler read the request's body although the response begins before it has done so.
func (s *Stream) LeaveBody() {
	if s.Request.Body != nil && s.Request.ContentLength != 0 {
		allowBodyAfterHeaders(s.w, s.Request)
	}
}

// allowBodyAfterHeaders keeps an HTTP/1 server from reading the request's body itself before it sends the headers.
func allowBodyAfterHeaders(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Connection", "close")
	}
}
