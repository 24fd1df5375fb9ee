package sse

import (
	"go.uber.org/zap"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
)

// Engine returns what a handler with these options makes of records, as Caddy would have it after Provision.
func Engine(h *Handler) (*mapping.Mapping, *upstream.Config, error) {
	h.setDefaults()
	h.logger = zap.NewNop()
	if err := h.compile(); err != nil {
		return nil, nil, err
	}
	return h.direct.Mapping, h.upstream, nil
}
