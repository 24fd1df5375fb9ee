package mapping

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/parse"
)

// Spec holds the options that say how a record becomes an event.
type Spec struct {
	Parse     parse.Spec // how to parse lines of text; zero: not at all
	Data      string     // template
	Event, ID string     // templates; empty: none
	Where     string     // CEL expression; empty: every record is sent
	OnInvalid OnInvalid
}

// OnInvalid says what happens to a record that is not JSON although its format says so, and to a line that does not fit Parse.
type OnInvalid string

// The choices of OnInvalid.
const (
	Pass OnInvalid = "pass"  // the record is sent like any other
	Skip OnInvalid = "skip"  // the record is dropped
	Fail OnInvalid = "error" // the stream ends
)

// Mapping is a compiled Spec. Bind gives it the values of its placeholders, once for each stream, or once for all streams with
// the same values.
type Mapping struct {
	parser    *parse.Parser // nil: lines are not parsed
	data      *Template
	event, id *Template // nil: none
	where     *Where    // nil: every record is sent
	paths     *paths    // the paths in all templates
	onInvalid OnInvalid
	key       string // differs between different Specs
	idKey     string // differs between Specs with different ids
}

// Parse compiles a Spec. An error names the wrong option.
func Parse(spec Spec) (m *Mapping, err error) {
	m = &Mapping{paths: new(paths), onInvalid: spec.OnInvalid, key: fmt.Sprintf("%q", spec), idKey: fmt.Sprintf("%q %q", spec.Parse, spec.ID)}
	if spec.Parse.Syntax != "" {
		if m.parser, err = parse.New(spec.Parse); err != nil {
			return nil, fmt.Errorf("parse: %w", err)
		}
	}
	if m.data, err = parseTemplate(spec.Data, m.paths); err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	if spec.Event != "" {
		if m.event, err = parseTemplate(spec.Event, m.paths); err != nil {
			return nil, fmt.Errorf("event: %w", err)
		}
	}
	if spec.ID != "" {
		if m.id, err = parseTemplate(spec.ID, m.paths); err != nil {
			return nil, fmt.Errorf("id: %w", err)
		}
	}
	if spec.Where != "" {
		if m.where, err = CompileWhere(spec.Where); err != nil {
			return nil, fmt.Errorf("where: %w", err)
		}
	}
	return m, nil
}

// Key returns the same text for mappings that make the same frames. For mappings that depend on the request, it returns the same
// text if they make the same ids.
func (m *Mapping) Key() string {
	if m.PerRequest() {
		return "per request " + m.idKey
	}
	return m.key
}

// GivesIDs reports whether the config has an id template.
func (m *Mapping) GivesIDs() bool { return m.id != nil }

// PerRequest reports whether the mapping has placeholders with values from the request.
func (m *Mapping) PerRequest() bool {
	names := m.data.Placeholders()
	if m.event != nil {
		names = append(names, m.event.Placeholders()...)
	}
	if m.id != nil {
		names = append(names, m.id.Placeholders()...)
	}
	if m.where != nil {
		names = append(names, m.where.Placeholders()...)
	}
	return DependOnRequest(names)
}

// DependOnRequest reports whether the value of any of these placeholders depends on the request. Those that do not have one of
// Caddy's global prefixes.
func DependOnRequest(placeholders []string) bool {
	return slices.ContainsFunc(placeholders, func(name string) bool {
		for _, global := range []string{"env.", "system.", "time.", "file."} {
			if strings.HasPrefix(name, global) {
				return false
			}
		}
		return true
	})
}

// validText returns find with values in valid UTF-8. Events must be UTF-8, but a client can send anything.
func validText(find func(name string) (value string, known bool)) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, known := find(name)
		return strings.ToValidUTF8(value, "\uFFFD"), known
	}
}

// Bind returns a Mapper with the values of the placeholders.
func (m *Mapping) Bind(find func(name string) (value string, known bool)) *Mapper {
	lookup := validText(find)
	bound := &Mapper{reader: reader{parser: m.parser}, data: m.data.Bind(lookup), onInvalid: m.onInvalid}
	bound.document.paths = m.paths
	if m.event != nil {
		bound.event = m.event.Bind(lookup)
	}
	if m.id != nil {
		bound.id = m.id.Bind(lookup)
	}
	if m.where != nil {
		bound.where = m.where.Bind(lookup)
	}
	bound.plain = bound.data.IsRecord() && bound.event == nil && bound.id == nil && bound.where == nil && bound.onInvalid == Pass && bound.parser == nil
	return bound
}

// BindIDs returns a Mapper for IDOf only. It returns nil if the config has no id template, or one that depends on the request.
func (m *Mapping) BindIDs(find func(name string) (value string, known bool)) *Mapper {
	if m.id == nil || DependOnRequest(m.id.Placeholders()) {
		return nil
	}
	return (&Mapping{parser: m.parser, data: m.data, id: m.id, paths: m.paths}).Bind(find)
}
