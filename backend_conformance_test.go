package sse

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/backend/backendtest"
	"github.com/seed-4dedbcea/caddy-sse/internal/upstreamtest"
)

func TestExecIsABackend(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		return upstreamtest.Backend(t, `exec sh -c "echo a line; sleep 1000"`)
	})
}

func TestHTTPIsABackend(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "a line\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}))
		t.Cleanup(server.Close)
		return upstreamtest.Backend(t, "http "+server.URL)
	})
}
