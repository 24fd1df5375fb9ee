package sse

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// seenOptions are the names of those that a block has given.
type seenOptions map[string]bool

// add refuses an option that has been given before.
func (seen seenOptions) add(d *caddyfile.Dispenser) error {
	name := d.Val()
	if seen[name] {
		return d.Errf("%s is given twice: remove one of them", name)
	}
	seen[name] = true
	return nil
}

func noArgs(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

func oneArg(d *caddyfile.Dispenser) (string, error) {
	if !d.NextArg() {
		return "", d.ArgErr()
	}
	value := d.Val()
	return value, noArgs(d)
}

// args takes between least and most arguments; those that are not given are empty, so that none that is given may be.
func args(d *caddyfile.Dispenser, least, most int) ([]string, error) {
	given := d.RemainingArgs()
	if len(given) < least || len(given) > most || slices.Contains(given, "") {
		return nil, d.ArgErr()
	}
	return append(given, make([]string, most-len(given))...), nil
}

func oneOf(d *caddyfile.Dispenser, values ...string) (string, error) {
	name := d.Val()
	value, err := oneArg(d)
	if err == nil && !slices.Contains(values, value) {
		err = d.Errf("%s must be one of %s, not %q", name, strings.Join(values, ", "), value)
	}
	return value, err
}

// checked takes an argument that has to pass check, so that a mistake in it is told with its file and line.
func checked(d *caddyfile.Dispenser, check func(string) error) (string, error) {
	name := d.Val()
	value, err := oneArg(d)
	if err != nil {
		return "", err
	}
	if err := check(value); err != nil {
		return "", d.WrapErr(fmt.Errorf("%s: %w", name, err))
	}
	return value, nil
}

func checkCharset(name string) error {
	if name == "" {
		return errors.New("must have a name, such as utf-8")
	}
	_, err := records.LookupCharset(name)
	return err
}

func checkTemplate(text string) error {
	_, err := mapping.ParseTemplate(text)
	return err
}

func parseDuration(d *caddyfile.Dispenser) (caddy.Duration, error) {
	name := d.Val()
	value, err := oneArg(d)
	if err != nil {
		return 0, err
	}
	return positiveDuration(d, name, value)
}

func positiveDuration(d *caddyfile.Dispenser, name, value string) (caddy.Duration, error) {
	duration, err := caddy.ParseDuration(value)
	if err != nil || duration <= 0 {
		return 0, d.Errf("%s must be a duration above zero, such as 5s, not %q", name, value)
	}
	if duration < shortest {
		return 0, d.Errf("%s must be at least %s, not %s", name, shortest, value)
	}
	return caddy.Duration(duration), nil
}

// turnedOff is what an option is in JSON whose zero stands for its default.
const turnedOff = caddy.Duration(-1)

func parseDurationOrOff(d *caddyfile.Dispenser) (caddy.Duration, error) {
	name := d.Val()
	value, err := oneArg(d)
	if err != nil {
		return 0, err
	}
	if value == "off" {
		return turnedOff, nil
	}
	return positiveDuration(d, name, value)
}

func parseDurationOrZero(d *caddyfile.Dispenser) (caddy.Duration, error) {
	name := d.Val()
	value, err := oneArg(d)
	if err != nil {
		return 0, err
	}
	if duration, err := caddy.ParseDuration(value); err == nil && duration == 0 {
		return turnedOff, nil
	}
	return positiveDuration(d, name, value)
}

func parseCount(d *caddyfile.Dispenser, least int) (int, error) {
	name := d.Val()
	value, err := oneArg(d)
	if err != nil {
		return 0, err
	}
	return count(d, name, value, least)
}

func count(d *caddyfile.Dispenser, name, value string, least int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < least {
		return 0, d.Errf("%s must be a whole number, at least %d, not %q", name, least, value)
	}
	return n, nil
}

func size(d *caddyfile.Dispenser, name, value string) (int64, error) {
	n, err := humanize.ParseBytes(value)
	if err != nil || n < 1 || n > maxSize {
		return 0, d.Errf("%s must be a size from 1B to 1GiB, such as 64KiB, not %q", name, value)
	}
	return int64(n), nil
}
