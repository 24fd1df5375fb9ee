package directive

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// option returns a dispenser that stands at the name of an option.
func option(text string) *caddyfile.Dispenser {
	d := caddyfile.NewTestDispenser(text)
	d.Next()
	return d
}

func TestOptionsTakeExactlyTheirArguments(t *testing.T) {
	for name, test := range map[string]struct {
		parse        func(*caddyfile.Dispenser) error
		right, wrong []string
	}{
		"none":      {NoArgs, []string{"x"}, []string{"x a"}},
		"one":       {func(d *caddyfile.Dispenser) error { _, err := OneArg(d); return err }, []string{"x a", `x ""`}, []string{"x", "x a b"}},
		"some":      {func(d *caddyfile.Dispenser) error { _, err := Args(d, 1, 2); return err }, []string{"x a", "x a b"}, []string{"x", "x a b c", `x a ""`}},
		"choice":    {func(d *caddyfile.Dispenser) error { _, err := OneOf(d, "a", "b"); return err }, []string{"x a", "x b"}, []string{"x", "x c", "x a b"}},
		"duration":  {func(d *caddyfile.Dispenser) error { _, err := Duration(d); return err }, []string{"x 1s", "x 1d"}, []string{"x", "x 0", "x -1s", "x 1ns", "x 1", "x off"}},
		"or off":    {func(d *caddyfile.Dispenser) error { _, err := DurationOrOff(d); return err }, []string{"x 1s", "x off"}, []string{"x", "x 0", "x none"}},
		"or zero":   {func(d *caddyfile.Dispenser) error { _, err := DurationOrZero(d); return err }, []string{"x 1s", "x 0", "x 0s"}, []string{"x", "x off", "x -1s"}},
		"count":     {func(d *caddyfile.Dispenser) error { _, err := Count(d, 1); return err }, []string{"x 1"}, []string{"x", "x 0", "x 1.5", "x a"}},
		"size":      {func(d *caddyfile.Dispenser) error { _, err := ParseSize(d, "x", "1GiB"); return err }, []string{"x"}, nil},
		"too large": {func(d *caddyfile.Dispenser) error { _, err := ParseSize(d, "x", "2GiB"); return err }, nil, []string{"x"}},
	} {
		for _, text := range test.right {
			if err := test.parse(option(text)); err != nil {
				t.Errorf("%s: %q: %v", name, text, err)
			}
		}
		for _, text := range test.wrong {
			if err := test.parse(option(text)); err == nil {
				t.Errorf("%s: %q is taken", name, text)
			} else if !strings.Contains(err.Error(), "Testfile:1") {
				t.Errorf("%s: %q: the error names no file and line: %v", name, text, err)
			}
		}
	}
}

func TestAnOptionIsGivenOnce(t *testing.T) {
	seen := make(Seen)
	if err := seen.Add(option("x")); err != nil {
		t.Error(err)
	}
	if err := seen.Add(option("x")); err == nil {
		t.Error("it is taken twice")
	}
}
