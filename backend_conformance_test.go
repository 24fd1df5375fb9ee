package sse

import (
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
