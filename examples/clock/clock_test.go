package clock

import (
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/backend/backendtest"
)

func TestTheClockIsABackend(t *testing.T) {
	backendtest.Run(t, func(*testing.T) backend.Backend { return &Clock{Interval: caddy.Duration(time.Millisecond)} })
}
