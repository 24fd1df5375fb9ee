package redis

import (
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/store"
	"github.com/seed-4dedbcea/caddy-sse/store/storetest"
)

func TestTheStoreKeepsWhatIsPromised(t *testing.T) {
	s := startServer(t)
	storetest.Run(t, largest, func(t *testing.T) store.Store {
		o := open(t, s.url())
		o.awaitUp(t)
		return o
	})
}
