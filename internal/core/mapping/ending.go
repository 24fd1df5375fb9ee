package mapping

import (
	"fmt"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/parse"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// EndingSpec holds the options that select an upstream's last record.
type EndingSpec struct {
	Parse parse.Spec // how to parse lines of text; zero: not at all
	End   string     // end_when: a CEL expression; empty: none
	Error string     // error_when: a CEL expression; empty: none
}

// Ending is a compiled EndingSpec. Bind gives it the values of its placeholders, once for each upstream.
type Ending struct {
	parser     *parse.Parser
	end, error *Where
	key        string
}

// ParseEnding compiles an EndingSpec. It returns nil if the spec has no expression. An error names the wrong option.
func ParseEnding(spec EndingSpec) (e *Ending, err error) {
	if spec.End == "" && spec.Error == "" {
		return nil, nil
	}
	e = &Ending{key: fmt.Sprintf("%q", spec)}
	if spec.Parse.Syntax != "" {
		if e.parser, err = parse.New(spec.Parse); err != nil {
			return nil, fmt.Errorf("parse: %w", err)
		}
	}
	if spec.End != "" {
		if e.end, err = CompileWhere(spec.End); err != nil {
			return nil, fmt.Errorf("end_when: %w", err)
		}
	}
	if spec.Error != "" {
		if e.error, err = CompileWhere(spec.Error); err != nil {
			return nil, fmt.Errorf("error_when: %w", err)
		}
	}
	return e, nil
}

// Key returns the same text for equal endings. It is empty for nil.
func (e *Ending) Key() string {
	if e == nil {
		return ""
	}
	return e.key
}

// PerRequest reports whether the ending may differ from request to request.
func (e *Ending) PerRequest() bool {
	if e == nil {
		return false
	}
	var names []string
	for _, w := range []*Where{e.end, e.error} {
		if w != nil {
			names = append(names, w.Placeholders()...)
		}
	}
	return DependOnRequest(names)
}

// Bind evaluates the placeholders. It returns nil for nil.
func (e *Ending) Bind(find func(name string) (value string, known bool)) *Selector {
	if e == nil {
		return nil
	}
	lookup := validText(find)
	s := &Selector{reader: reader{parser: e.parser}}
	if e.end != nil {
		s.end = e.end.Bind(lookup)
	}
	if e.error != nil {
		s.error = e.error.Bind(lookup)
	}
	return s
}

// Selector finds an upstream's last record. Only one goroutine may use it at a time.
type Selector struct {
	reader
	end, error *Filter
}

// Selected says why a record was selected.
type Selected uint8

const (
	NotSelected   Selected = iota
	SelectedEnd            // end_when: it is the last record
	SelectedError          // error_when: it says that the upstream has failed
)

// Select returns why a record is selected, if it is. An expression that fails does not select the record. A nil Selector
// selects no record.
func (s *Selector) Select(rec *records.Record) Selected {
	if s == nil {
		return NotSelected
	}
	return s.apply(rec)
}

func (s *Selector) apply(rec *records.Record) Selected {
	s.read(rec)
	if s.error != nil {
		if failed, _ := s.error.Match(&s.document); failed {
			return SelectedError
		}
	}
	if s.end != nil {
		if ends, _ := s.end.Match(&s.document); ends {
			return SelectedEnd
		}
	}
	return NotSelected
}
