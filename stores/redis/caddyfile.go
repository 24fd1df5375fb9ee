package redis

import (
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
	"github.com/seed-4dedbcea/caddy-sse/store"
)

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	store redis <url> {
//	    prefix <text>
//	    keep   <count> [<size>] [<age>]
//	    lease  <duration>
//	    tls {
//	        ca          <file>
//	        client_cert <cert> <key>
//	        server_name <name>
//	    }
//	}
func (s *Store) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the store's name
	var err error
	if s.URL, err = directive.OneArg(d); err != nil || s.URL == "" {
		return d.Err("store redis must be followed by one URL, such as redis://127.0.0.1:6379") // the error must not repeat a part of it, which may be a password
	}
	if !strings.Contains(s.URL, "{") { // with placeholders, Provision checks it
		if _, err := clientOptions(s.URL); err != nil {
			return d.WrapErr(err)
		}
	}
	seen := make(directive.Seen)
	for d.NextBlock(0) {
		if err := seen.Add(d); err != nil {
			return err
		}
		ours, err := s.Unmarshal(d)
		if !ours {
			switch d.Val() {
			case "prefix":
				s.Prefix, err = directive.OneArg(d)
			default:
				err = d.Errf("unrecognized subdirective %q of store redis", d.Val())
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var (
	_ store.Module          = (*Store)(nil)
	_ caddy.Provisioner     = (*Store)(nil)
	_ caddyfile.Unmarshaler = (*Store)(nil)
)
