package nats_test

import (
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/store"
	"github.com/seed-4dedbcea/caddy-sse/store/storetest"
)

// largest is the size of the largest message that a server takes with its max_payload of 1 MiB.
const largest = 1<<20 - 512

func TestOneServerKeepsWhatIsPromised(t *testing.T) {
	s := startServer(t)
	storetest.Run(t, largest, func(t *testing.T) store.Store {
		o := open(t, []*server{s})
		o.awaitUp(t)
		return o
	})
}

func TestThreeServersKeepWhatIsPromised(t *testing.T) {
	servers := startCluster(t)
	storetest.Run(t, largest, func(t *testing.T) store.Store {
		o := open(t, servers, three)
		o.awaitUp(t)
		return o
	})
}
