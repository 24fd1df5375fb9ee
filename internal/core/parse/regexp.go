package parse

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/jsonstring"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/pattern"
)

// patternBounds are those of a pattern in the config. Whether a line fits must not depend on how busy the machine is, so the
// clock is for lines and patterns that are both very large: a pattern of 128 instructions on 1 MiB takes a second at worst.
var patternBounds = pattern.Bounds{Length: math.MaxInt, Size: math.MaxInt, Steps: 1 << 27, Time: time.Second}

type regexpParser struct {
	pattern *pattern.Pattern
	groups  []member // by number; nil: without a name
}

func newRegexp(expr string) (*regexpParser, error) {
	if expr == "" {
		return nil, errors.New("write a pattern with named groups, such as (?P<name>.*)")
	}
	compiled, err := pattern.Compile(expr, patternBounds)
	if err != nil {
		return nil, err
	}
	p, named := &regexpParser{pattern: compiled}, false
	names := compiled.SubexpNames()
	for i, name := range names {
		var m member
		if name != "" {
			if slices.Contains(names[:i], name) {
				return nil, fmt.Errorf("group %q is given twice: rename one of them", name)
			}
			if m, err = newMember(name); err != nil {
				return nil, err
			}
			named = true
		}
		p.groups = append(p.groups, m)
	}
	if !named {
		return nil, errors.New("the pattern has no named group: write (?P<name>...) around what is to be a field")
	}
	return p, nil
}

// A group that takes no part in the match has no field.
func (p *regexpParser) appendObject(dst, line []byte) (out []byte, fits bool) {
	found, err := p.pattern.FindGroups(line)
	if err != nil || found == nil {
		return dst, false
	}
	start := len(dst)
	dst = append(dst, '{')
	for i, m := range p.groups {
		if from := found[2*i]; m != nil && from >= 0 {
			dst = jsonstring.Append(appendMember(dst, start, m), line[from:found[2*i+1]])
		}
	}
	return append(dst, '}'), true
}
