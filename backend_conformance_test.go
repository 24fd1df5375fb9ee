package sse

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/backend/backendtest"
	"github.com/seed-4dedbcea/caddy-sse/internal/upstreamtest"
)

func TestExecIsABackend(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		return upstreamtest.Backend(t, `exec sh -c "echo a line; sleep 1000"`)
	})
}

func TestFileIsABackend(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		path := filepath.Join(t.TempDir(), "app.log")
		if err := os.WriteFile(path, []byte("a line\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return upstreamtest.Backend(t, "file "+path+" {\nfrom start\n}")
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

func TestListenIsABackend(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		path := filepath.Join(t.TempDir(), "socket")
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() { // sends again and again, as the socket opens and closes with each Stream
			defer close(stopped)
			for {
				if conn, err := net.Dial("unix", path); err == nil {
					_, _ = io.WriteString(conn, "a line\n")
					conn.Close()
				}
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
				}
			}
		}()
		t.Cleanup(func() { close(stop); <-stopped })
		return upstreamtest.Backend(t, "listen unix/"+path)
	})
}
