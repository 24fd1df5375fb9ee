package direct

import (
	"net/http"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
)

// unchanged passes an upstream's bytes to one client as they are. It implements backend.Sink and backend.Input.
type unchanged struct{ stream *stream.Stream }

// Open starts the client's response.
func (u *unchanged) Open(contentType string) (backend.Input, error) {
	header := u.stream.Header()
	if contentType == "" {
		contentType = "text/plain; charset=utf-8"
	}
	header.Set("Content-Type", contentType)
	header.Set("Cache-Control", "no-cache")
	header.Set("X-Accel-Buffering", "no")
	header.Set("Incremental", "?1")
	u.stream.PassThrough(http.StatusOK)
	return u, u.stream.FlushForwarded()
}

func (u *unchanged) Write(p []byte) (int, error) {
	if err := u.stream.Forward(p); err != nil {
		return 0, err
	}
	return len(p), u.stream.FlushForwarded()
}

// The bytes pass as they are, so these methods have nothing to do.

func (u *unchanged) End(bool) error                              { return nil }
func (u *unchanged) SetOffset(int64, func([]byte, int64) []byte) {}
func (u *unchanged) Gap() error                                  { return nil }

var (
	_ backend.Sink  = (*unchanged)(nil)
	_ backend.Input = (*unchanged)(nil)
)
