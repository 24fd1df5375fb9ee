// Command caddy is Caddy with its standard modules and the sse handler.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "time/tzdata"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/seed-4dedbcea/caddy-sse"
)

func main() {
	caddycmd.Main()
}
