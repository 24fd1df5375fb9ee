// Package parse finds the fields of lines: CSV, a regular expression, logfmt and syslog. It makes each line that fits a
// JSON object, and knows neither HTTP nor Caddy.
//
// Each takes time and memory in proportion to the line, whatever is in it.
package parse

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/jsonstring"
)

// Spec says what lines are made of, as a config has it.
type Spec struct {
	Syntax  string   // one of Syntaxes
	Columns []string // of csv
	Pattern string   // of regexp
}

// The values of Spec.Syntax.
const (
	CSV    = "csv"
	Regexp = "regexp"
	Logfmt = "logfmt"
	Syslog = "syslog"
)

// Syntaxes are the values of Spec.Syntax.
var Syntaxes = []string{CSV, Regexp, Logfmt, Syslog}

// Parser makes JSON objects of lines. It does not change, and many goroutines may use it.
type Parser struct {
	lines lineParser
}

// lineParser appends the object that a line becomes, or returns dst with anything behind it and false if it does not fit.
type lineParser interface {
	appendObject(dst, line []byte) (out []byte, fits bool)
}

// New compiles a Spec. The error says what to change.
func New(spec Spec) (*Parser, error) {
	var lines lineParser
	var err error
	switch spec.Syntax {
	case CSV:
		lines, err = newCSV(spec.Columns)
	case Regexp:
		lines, err = newRegexp(spec.Pattern)
	case Logfmt:
		lines = newLogfmt()
	case Syslog:
		lines = newSyslog()
	default:
		return nil, fmt.Errorf("lines can be parsed as %s, not %q", strings.Join(Syntaxes, ", "), spec.Syntax)
	}
	if err == nil && spec.Syntax != CSV && len(spec.Columns) > 0 {
		err = errors.New("columns are for csv")
	}
	if err == nil && spec.Syntax != Regexp && spec.Pattern != "" {
		err = errors.New("a pattern is for regexp")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", spec.Syntax, err)
	}
	return &Parser{lines}, nil
}

// AppendObject appends the JSON object that a line becomes: in one line, and without a name twice. A line that does not
// fit appends nothing. The line must be valid UTF-8.
func (p *Parser) AppendObject(dst, line []byte) (out []byte, fits bool) {
	out, fits = p.lines.appendObject(dst, line)
	if !fits {
		return out[:len(dst)], false
	}
	return out, true
}

// maxPooled is how long a line may be to be parsed by what is kept for the next one. There are few long lines.
const maxPooled = 16 << 10

// member is the beginning of an object's member, prepared: its name and the colon.
type member []byte

func newMember(name string) (member, error) {
	if name == "" || !utf8.ValidString(name) {
		return nil, fmt.Errorf("a field must have a name of UTF-8, not %q", name)
	}
	return append(jsonstring.Append(nil, name), ':'), nil
}

// appendMember begins another member of the object that begins at start.
func appendMember(dst []byte, start int, m member) []byte {
	if len(dst) > start+len("{") {
		dst = append(dst, ',')
	}
	return append(dst, m...)
}
