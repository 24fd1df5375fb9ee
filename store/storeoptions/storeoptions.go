// Package storeoptions has the options that all stores have, for Caddy modules in the namespace http.sse.stores.
package storeoptions

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
	"github.com/seed-4dedbcea/caddy-sse/store"
)

// Options are the options of all stores. A module embeds them.
type Options struct {
	// The most records that are kept for each source. Default: 4096.
	Keep int `json:"keep,omitempty"`

	// The most bytes of records that are kept for each source, up to 1 GiB. Default: 8388608 (8 MiB).
	KeepSize int64 `json:"keep_size,omitempty"`

	// How long a record is kept. Default: 24h.
	KeepAge caddy.Duration `json:"keep_age,omitempty"`

	// The time after which another process takes over a source whose leader is silent. At least 1s. Default: 2.5s.
	Lease caddy.Duration `json:"lease,omitempty"`

	// How connections are encrypted. Default: they are not, unless the URL says so.
	TLS *TLS `json:"tls,omitempty"`
}

// Unmarshal parses the option at d, and reports whether it is one of Options. Syntax:
//
//	keep  <count> [<size>] [<age>]
//	lease <duration>
//	tls {
//	    ca          <file>
//	    client_cert <cert> <key>
//	    server_name <name>
//	}
func (o *Options) Unmarshal(d *caddyfile.Dispenser) (ours bool, err error) {
	switch d.Val() {
	case "keep":
		err = o.unmarshalKeep(d)
	case "lease":
		if o.Lease, err = directive.Duration(d); err == nil && o.Lease < caddy.Duration(store.MinLease) {
			err = d.Err(errLease.Error())
		}
	case "tls":
		o.TLS = new(TLS)
		err = o.TLS.unmarshal(d)
	default:
		return false, nil
	}
	return true, err
}

func (o *Options) unmarshalKeep(d *caddyfile.Dispenser) error {
	given, err := directive.Args(d, 1, 3)
	if err != nil {
		return err
	}
	if o.Keep, err = directive.ParseCount(d, "the count of keep", given[0], 1); err != nil {
		return err
	}
	if given[1] != "" {
		if o.KeepSize, err = directive.ParseSize(d, "the size of keep", given[1]); err != nil {
			return err
		}
	}
	if given[2] != "" {
		o.KeepAge, err = directive.ParseDuration(d, "the age of keep", given[2])
	}
	return err
}

var errLease = fmt.Errorf("lease must be at least %s", store.MinLease)

// Validate checks the options, which may come from JSON. It does not read the files for TLS.
func (o *Options) Validate() error {
	switch {
	case o.Keep < 0:
		return fmt.Errorf("keep must be at least 1, not %d", o.Keep)
	case o.KeepSize < 0 || o.KeepSize > directive.MaxSize:
		return fmt.Errorf("keep_size must be from 1 to %d bytes, not %d", directive.MaxSize, o.KeepSize)
	case o.KeepAge < 0 || o.KeepAge > 0 && o.KeepAge < caddy.Duration(directive.ShortestDuration):
		return fmt.Errorf("keep_age must be at least %s, not %s", directive.ShortestDuration, time.Duration(o.KeepAge))
	case o.Lease != 0 && o.Lease < caddy.Duration(store.MinLease):
		return errLease
	}
	return nil
}

// Settings returns the options with their defaults.
func (o *Options) Settings() store.Settings {
	settings := store.Settings{Count: o.Keep, Size: o.KeepSize, Age: time.Duration(o.KeepAge), Lease: time.Duration(o.Lease)}
	directive.SetDefault(&settings.Count, store.DefaultCount)
	directive.SetDefault(&settings.Size, store.DefaultSize)
	directive.SetDefault(&settings.Age, store.DefaultAge)
	directive.SetDefault(&settings.Lease, store.DefaultLease)
	return settings
}
