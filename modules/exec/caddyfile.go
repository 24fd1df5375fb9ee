package exec

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
)

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	backend exec <command> [<args...>] {
//	    dir          <path>
//	    env          <name> <value>
//	    stderr       log | records
//	    stop_timeout <duration>
//	    pty
//	}
func (b *Backend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume backend name
	b.Command = d.RemainingArgs()
	if len(b.Command) == 0 {
		return d.ArgErr()
	}
	if err := directive.Compiled(d, b.Compile); err != nil {
		return err
	}
	seen := make(directive.Seen)
	for d.NextBlock(0) {
		var err error
		if d.Val() != "env" {
			err = seen.Add(d)
		}
		if err != nil {
			return err
		}
		switch d.Val() {
		case "dir":
			b.Dir, err = directive.Checked(d, argument.Check)
		case "env":
			err = b.parseEnv(d)
		case "stderr":
			b.Stderr, err = directive.OneOf(d, stderrLog, stderrRecords)
		case "stop_timeout":
			b.StopTimeout, err = directive.Duration(d)
		case "pty":
			b.Pty, err = true, directive.NoArgs(d)
		default:
			err = d.Errf("unrecognized subdirective %q of backend exec", d.Val())
		}
		if err != nil {
			return err
		}
	}
	return directive.Compiled(d, b.Compile)
}

func (b *Backend) parseEnv(d *caddyfile.Dispenser) error {
	given, err := directive.Args(d, 2, 2)
	if err != nil {
		return err
	}
	name, value := given[0], given[1]
	if _, twice := b.Env[name]; twice {
		return d.Errf("env %s is given twice: remove one of them", name)
	}
	if b.Env == nil {
		b.Env = make(map[string]string)
	}
	b.Env[name] = value
	return directive.Compiled(d, b.Compile)
}

var _ caddyfile.Unmarshaler = (*Backend)(nil)
