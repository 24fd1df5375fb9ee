// Package directive parses Caddyfile options strictly. An option can be given once, and must have the right number of arguments.
// Errors name the file and the line.
package directive

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Off is the value of a duration that is turned off, in JSON too. Zero means the default.
const Off = caddy.Duration(-1)

// ShortestDuration is the shortest duration that an option takes. A shorter one probably has the wrong unit.
const ShortestDuration = time.Millisecond

// MaxSize is the largest size that an option takes, in bytes. A larger one is probably a mistake.
const MaxSize = 1 << 30

// SetDefault sets an option that is zero.
func SetDefault[T comparable](option *T, value T) {
	var zero T
	if *option == zero {
		*option = value
	}
}

// Seen holds the names of the options that were given in a block.
type Seen map[string]bool

// Add adds the option at d. It returns an error if the option was given before.
func (seen Seen) Add(d *caddyfile.Dispenser) error {
	name := d.Val()
	if seen[name] {
		return d.Errf("%s is given twice: remove one of them", name)
	}
	seen[name] = true
	return nil
}

// NoArgs takes no argument.
func NoArgs(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// OneArg takes one argument.
func OneArg(d *caddyfile.Dispenser) (string, error) {
	if !d.NextArg() {
		return "", d.ArgErr()
	}
	value := d.Val()
	return value, NoArgs(d)
}

// Args takes from least to most arguments, none of them empty. It returns most arguments: those that were not given are empty.
func Args(d *caddyfile.Dispenser, least, most int) ([]string, error) {
	given := d.RemainingArgs()
	if len(given) < least || len(given) > most || slices.Contains(given, "") {
		return nil, d.ArgErr()
	}
	return append(given, make([]string, most-len(given))...), nil
}

// OneOf takes one of the values.
func OneOf(d *caddyfile.Dispenser, values ...string) (string, error) {
	name := d.Val()
	value, err := OneArg(d)
	if err == nil && !slices.Contains(values, value) {
		err = d.Errf("%s must be one of %s, not %q", name, strings.Join(values, ", "), value)
	}
	return value, err
}

// Checked takes an argument that check accepts.
func Checked(d *caddyfile.Dispenser, check func(string) error) (string, error) {
	name := d.Val()
	value, err := OneArg(d)
	if err != nil {
		return "", err
	}
	if err := check(value); err != nil {
		return "", d.WrapErr(fmt.Errorf("%s: %w", name, err))
	}
	return value, nil
}

// Compiled calls compile, and adds the file and line to its error. Caddy calls Provision later, when file and line are not known.
func Compiled(d *caddyfile.Dispenser, compile func() error) error {
	if err := compile(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// Duration takes a duration above zero.
func Duration(d *caddyfile.Dispenser) (caddy.Duration, error) {
	name := d.Val()
	value, err := OneArg(d)
	if err != nil {
		return 0, err
	}
	return ParseDuration(d, name, value)
}

// DurationOrOff takes a duration above zero, or off.
func DurationOrOff(d *caddyfile.Dispenser) (caddy.Duration, error) {
	name := d.Val()
	value, err := OneArg(d)
	if err != nil {
		return 0, err
	}
	if value == "off" {
		return Off, nil
	}
	return ParseDuration(d, name, value)
}

// DurationOrZero takes a duration. Zero turns the option off.
func DurationOrZero(d *caddyfile.Dispenser) (caddy.Duration, error) {
	name := d.Val()
	value, err := OneArg(d)
	if err != nil {
		return 0, err
	}
	return ParseDurationOrZero(d, name, value)
}

// ParseDuration parses a duration above zero.
func ParseDuration(d *caddyfile.Dispenser, name, value string) (caddy.Duration, error) {
	duration, err := caddy.ParseDuration(value)
	if err != nil || duration <= 0 {
		return 0, d.Errf("%s must be a duration above zero, such as 5s, not %q", name, value)
	}
	if duration < ShortestDuration {
		return 0, d.Errf("%s must be at least %s, not %s", name, ShortestDuration, value)
	}
	return caddy.Duration(duration), nil
}

// ParseDurationOrZero parses a duration. Zero turns the option off.
func ParseDurationOrZero(d *caddyfile.Dispenser, name, value string) (caddy.Duration, error) {
	if duration, err := caddy.ParseDuration(value); err == nil && duration == 0 {
		return Off, nil
	}
	return ParseDuration(d, name, value)
}

// Count takes a whole number, at least least.
func Count(d *caddyfile.Dispenser, least int) (int, error) {
	name := d.Val()
	value, err := OneArg(d)
	if err != nil {
		return 0, err
	}
	return ParseCount(d, name, value, least)
}

// ParseCount parses a whole number, at least least.
func ParseCount(d *caddyfile.Dispenser, name, value string, least int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < least {
		return 0, d.Errf("%s must be a whole number, at least %d, not %q", name, least, value)
	}
	return n, nil
}

// ParseSize parses a size from one byte to MaxSize.
func ParseSize(d *caddyfile.Dispenser, name, value string) (int64, error) {
	n, err := humanize.ParseBytes(value)
	if err != nil || n < 1 || n > MaxSize {
		return 0, d.Errf("%s must be a size from 1B to 1GiB, such as 64KiB, not %q", name, value)
	}
	return int64(n), nil
}
