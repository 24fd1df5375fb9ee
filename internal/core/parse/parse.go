// Package parse finds the fields in lines of text: CSV, a regular expression, logfmt or syslog. Each line that fits becomes a
// JSON object.
//
// Time and memory are proportional to the length of the line, whatever it holds.
package parse

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/jsonstring"
)

// Spec holds the options of parse.
type Spec struct {
	Syntax  string   // one of Syntaxes
	Columns []string // for csv
	Pattern string   // for regexp
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

// Parser turns lines into JSON objects. Many goroutines may use it at the same time.
type Parser struct {
	lines lineParser
}

// lineParser appends the object that a line becomes. If the line does not fit, it returns false, and out may have anything after
// dst.
type lineParser interface {
	appendObject(dst, line []byte) (out []byte, fits bool)
}

// New compiles a Spec. An error says what to change.
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

// AppendObject appends the JSON object that a line becomes. The object has no line break, and no name twice. If the line does not
// fit, AppendObject appends nothing. The line must be valid UTF-8.
func (p *Parser) AppendObject(dst, line []byte) (out []byte, fits bool) {
	out, fits = p.lines.appendObject(dst, line)
	if !fits {
		return out[:len(dst)], false
	}
	return out, true
}

// maxPooled is the longest line for a pooled reader, whose buffers grow with the line. Longer lines are rare, and get a reader of
// their own.
const maxPooled = 16 << 10

// member is the prepared beginning of an object's member: its name and the colon.
type member []byte

func newMember(name string) (member, error) {
	if name == "" || !utf8.ValidString(name) {
		return nil, fmt.Errorf("a field must have a name of UTF-8, not %q", name)
	}
	return append(jsonstring.Append(nil, name), ':'), nil
}

// appendMember begins another member of the object at start.
func appendMember(dst []byte, start int, m member) []byte {
	if len(dst) > start+len("{") {
		dst = append(dst, ',')
	}
	return append(dst, m...)
}
