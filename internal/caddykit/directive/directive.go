// Package directive parses Caddyfile options strictly: each option is given once, with exactly the arguments it takes.
// Its errors name the file and the line.
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

// Off is the JSON value of an option that is turned off where zero stands for the default.
const Off = caddy.Duration(-1)

// ShortestDuration is the shortest duration an option takes. A shorter one has the wrong unit.
const ShortestDuration = time.Millisecond

// MaxSize is the largest size an option takes. A larger one is a mistake.
const MaxSize = 1 << 30

// SetDefault sets an option that the config does not give.
func SetDefault[T comparable](option *T, value T) {
	var zero T
	if *option == zero {
		*option = value
	}
}

// Seen holds the names of the options that a block has given.
type Seen map[string]bool

// Add rejects an option that was given before.
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

// Args takes between least and most arguments. Those that are not given are empty, so none that is given may be.
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

// Compiled compiles the options that have been parsed, so that a mistake is reported with its file and line. Caddy's own
// call of Provision comes later and knows neither.
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

// Count takes a whole number that is at least least.
func Count(d *caddyfile.Dispenser, least int) (int, error) {
	name := d.Val()
	value, err := OneArg(d)
	if err != nil {
		return 0, err
	}
	return ParseCount(d, name, value, least)
}

// ParseCount parses a whole number that is at least least.
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
