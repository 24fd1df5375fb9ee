package parse

import (
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/jsonstring"
)

// omitted is the name for a column that gets no field.
const omitted = "-"

type csvParser struct {
	columns []member // nil: omitted
	readers sync.Pool
}

type csvReader struct {
	lines lineReader
	*csv.Reader
}

func newCSV(columns []string) (*csvParser, error) {
	p := new(csvParser)
	for i, name := range columns {
		if name == omitted {
			p.columns = append(p.columns, nil)
			continue
		}
		if slices.Contains(columns[:i], name) {
			return nil, fmt.Errorf("column %q is given twice: rename one of them, or write - to omit it", name)
		}
		m, err := newMember(name)
		if err != nil {
			return nil, err
		}
		p.columns = append(p.columns, m)
	}
	if !slices.ContainsFunc(p.columns, func(m member) bool { return m != nil }) {
		return nil, errors.New("name at least one column: - omits one")
	}
	p.readers.New = func() any { return newCSVReader(len(columns)) }
	return p, nil
}

func newCSVReader(columns int) *csvReader {
	r := new(csvReader)
	r.Reader = csv.NewReader(&r.lines)
	r.FieldsPerRecord = columns
	r.ReuseRecord = true
	return r
}

func (p *csvParser) appendObject(dst, line []byte) (out []byte, fits bool) {
	var r *csvReader
	if len(line) > maxPooled {
		r = newCSVReader(len(p.columns))
	} else {
		r = p.readers.Get().(*csvReader)
		defer p.readers.Put(r)
	}
	r.lines.reset(line)
	fields, err := r.Read()
	r.lines.reset(nil)
	if err != nil {
		return dst, false
	}
	start := len(dst)
	dst = append(dst, '{')
	for i, m := range p.columns {
		if m != nil {
			dst = jsonstring.Append(appendMember(dst, start, m), fields[i])
		}
	}
	return append(dst, '}'), true
}
