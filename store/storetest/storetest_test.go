package storetest

import (
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/memorystore"
	"github.com/seed-4dedbcea/caddy-sse/store"
)

func TestAnEngineInMemoryPasses(t *testing.T) {
	engine := memorystore.New()
	Run(t, memorystore.Largest, func(*testing.T) store.Store { return engine.Connect() })
}
