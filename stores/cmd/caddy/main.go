// Command caddy is Caddy with its standard modules, the sse handler, and all of its stores. It is a module of its own, so that
// nobody needs a store that is not used.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "time/tzdata"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/seed-4dedbcea/caddy-sse"
	_ "github.com/seed-4dedbcea/caddy-sse/stores/nats"
	_ "github.com/seed-4dedbcea/caddy-sse/stores/redis"
)

func main() {
	caddycmd.Main()
}
