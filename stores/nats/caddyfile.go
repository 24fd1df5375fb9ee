package nats

import (
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
	"github.com/seed-4dedbcea/caddy-sse/store"
)

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	store nats [<url...>] {
//	    stream      <name>
//	    prefix      <subject>
//	    replicas    <n>
//	    keep        <count> [<size>] [<age>]
//	    lease       <duration>
//	    credentials <file>
//	    user        <name> <password>
//	    token       <token>
//	    nkey        <file>
//	    tls {
//	        ca          <file>
//	        client_cert <cert> <key>
//	        server_name <name>
//	    }
//	}
func (s *Store) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the store's name
	s.URLs = d.RemainingArgs()
	for _, text := range s.URLs {
		if strings.Contains(text, "{") { // it is not known yet
			continue
		}
		if err := checkURL(text); err != nil {
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
			err = s.unmarshalOwn(d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unmarshalOwn takes an option that other stores do not have.
func (s *Store) unmarshalOwn(d *caddyfile.Dispenser) (err error) {
	switch d.Val() {
	case "stream":
		s.Stream, err = directive.Checked(d, checkStream)
	case "prefix":
		s.Prefix, err = directive.Checked(d, checkPrefix)
	case "replicas":
		if s.Replicas, err = directive.Count(d, 1); err == nil && s.Replicas > mostReplicas {
			err = d.Err(errReplicas.Error())
		}
	case "credentials":
		s.Credentials, err = secret(d, "one file")
	case "user":
		given := d.RemainingArgs()
		if len(given) != 2 || given[0] == "" {
			return d.Err("user must be followed by a name and a password") // and not repeat a part of them
		}
		s.User, s.Password = given[0], given[1]
	case "token":
		s.Token, err = secret(d, "one token")
	case "nkey":
		s.NKey, err = secret(d, "one file")
	default:
		return d.Errf("unrecognized subdirective %q of store nats", d.Val())
	}
	if err != nil {
		return err
	}
	if err := s.checkLogin(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// secret takes one argument. Its error does not repeat what is given.
func secret(d *caddyfile.Dispenser, kind string) (string, error) {
	option, given := d.Val(), d.RemainingArgs()
	if len(given) != 1 || given[0] == "" {
		return "", d.Errf("%s must be followed by %s", option, kind)
	}
	return given[0], nil
}

var (
	_ store.Module          = (*Store)(nil)
	_ caddy.Provisioner     = (*Store)(nil)
	_ caddy.Validator       = (*Store)(nil)
	_ caddyfile.Unmarshaler = (*Store)(nil)
)
