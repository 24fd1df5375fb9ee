package http

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
)

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	backend http <url> {
//	    method    <method>
//	    header    <name> <value>
//	    body      <text>
//	    transport <name> { ... }
//	}
func (b *Backend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume backend name
	var err error
	if b.URL, err = directive.OneArg(d); err != nil {
		return d.Err("backend http must be followed by one URL, in quotes if it has spaces") // does not repeat a part of it, which may be a secret
	}
	if err := directive.Compiled(d, b.Compile); err != nil {
		return err
	}
	seen := make(directive.Seen)
	for d.NextBlock(0) {
		if d.Val() != "header" {
			if err := seen.Add(d); err != nil {
				return err
			}
		}
		switch d.Val() {
		case "method":
			b.Method, err = directive.OneArg(d)
		case "header":
			err = b.parseHeader(d)
		case "body":
			b.Body, err = directive.OneArg(d)
		case "transport":
			err = b.parseTransport(d)
		default:
			err = d.Errf("unrecognized subdirective %q of backend http", d.Val())
		}
		if err == nil {
			err = directive.Compiled(d, b.Compile)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *Backend) parseHeader(d *caddyfile.Dispenser) error {
	given, err := directive.Args(d, 2, 2)
	if err != nil {
		return d.Err("header must be followed by a name and one value, in quotes if it has spaces") // does not repeat a part of it, which may be a secret
	}
	if b.Header == nil {
		b.Header = make(http.Header)
	}
	b.Header.Add(given[0], given[1])
	return nil
}

// parseTransport parses the transport's name. The transport's module parses the rest.
func (b *Backend) parseTransport(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, transportNamespace+"."+name)
	if err != nil {
		return err
	}
	transport, ok := module.(http.RoundTripper)
	if !ok {
		return d.Errf("module %s.%s is not a transport, but a %T", transportNamespace, name, module)
	}
	b.transport, b.TransportRaw = transport, caddyconfig.JSONModuleObject(module, "protocol", name, nil)
	return nil
}

var _ caddyfile.Unmarshaler = (*Backend)(nil)
