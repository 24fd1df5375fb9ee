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

// patternBounds are the bounds for a pattern in the config. It must not depend on the load of the machine whether a line fits. So
// the time limit applies only if line and pattern are both very large: a pattern with 128 instructions takes a second for 1 MiB
// at worst.
var patternBounds = pattern.Bounds{Length: math.MaxInt, Size: math.MaxInt, Steps: 1 << 27, Time: time.Second}

type regexpParser struct {
	pattern *pattern.Pattern
	groups  []member // by the number of the group; nil: it has no name
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

// appendObject gives no field to a group that is not part of the match.
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
