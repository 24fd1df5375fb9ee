package main

import (
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestItHasTheHandlerAndAllStores(t *testing.T) {
	for _, id := range []string{"http.handlers.sse", "http.sse.stores.nats", "http.sse.stores.redis"} {
		if _, err := caddy.GetModule(id); err != nil {
			t.Error(err)
		}
	}
}
