package mapping

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/parse"
)

// Spec says how a record becomes an event, as a config has it.
type Spec struct {
	Parse     parse.Spec // for lines of text; zero: they stay text
	Data      string     // template
	Event, ID string     // templates; empty: none
	Where     string     // CEL expression; empty: every record is sent
	OnInvalid OnInvalid
}

// OnInvalid says what happens to a record that is not JSON although its format says so, and to a line that Parse does not fit.
type OnInvalid string

// The choices of OnInvalid.
const (
	Pass OnInvalid = "pass"  // it is sent like any other
	Skip OnInvalid = "skip"  // it is dropped
	Fail OnInvalid = "error" // it ends the stream
)

// Mapping is a compiled Spec. It is bound to the values of its placeholders once for each stream, or once for all
// streams that share them.
type Mapping struct {
	parser    *parse.Parser // nil: lines stay text
	data      *Template
	event, id *Template // nil: none
	where     *Where    // nil: every record is sent
	paths     *paths    // of all templates
	onInvalid OnInvalid
	key       string // the same for equal Specs only
	idKey     string // the same for equal ids only
}

// Parse compiles a Spec. The error names the option that is wrong.
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

// Key returns a text that is the same for mappings that give a source's records the same frames, or, if these depend on
// the request, the same ids.
func (m *Mapping) Key() string {
	if m.PerRequest() {
		return "per request " + m.idKey
	}
	return m.key
}

// GivesIDs reports whether the config gives events their ids.
func (m *Mapping) GivesIDs() bool { return m.id != nil }

// PerRequest reports whether the mapping may differ from request to request, as it has placeholders of a request.
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

// DependOnRequest reports whether any of these placeholders may have another value for another request. Caddy's own
// placeholders that do not depend on a request have prefixes of their own.
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

// validText returns find with values that are UTF-8. A client's values need not be, but events must be.
func validText(find func(name string) (value string, known bool)) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, known := find(name)
		return strings.ToValidUTF8(value, "\uFFFD"), known
	}
}

// Bind evaluates the placeholders and returns a Mapper.
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

// BindIDs returns a Mapper for IDOf alone. It is nil if the mapping gives no ids, or ids that depend on the request.
func (m *Mapping) BindIDs(find func(name string) (value string, known bool)) *Mapper {
	if m.id == nil || DependOnRequest(m.id.Placeholders()) {
		return nil
	}
	return (&Mapping{parser: m.parser, data: m.data, id: m.id, paths: m.paths}).Bind(find)
}
