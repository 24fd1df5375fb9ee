package parse

import (
	"bytes"
	"sync"

	"github.com/go-logfmt/logfmt"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/jsonstring"
)

type logfmtParser struct {
	decoders sync.Pool
}

type logfmtDecoder struct {
	lines lineReader
	*logfmt.Decoder
	keys keySet
}

func newLogfmt() *logfmtParser {
	p := new(logfmtParser)
	p.decoders.New = func() any {
		d := new(logfmtDecoder)
		d.Decoder = logfmt.NewDecoder(&d.lines)
		return d
	}
	return p
}

// appendObject rejects a line without a pair: otherwise any line of prose would be keys without values. If a key occurs twice,
// the first one counts, as in a JSON record. A key without a value becomes an empty string.
func (p *logfmtParser) appendObject(dst, line []byte) (out []byte, fits bool) {
	if bytes.IndexByte(line, '=') < 0 {
		return dst, false
	}
	var d *logfmtDecoder
	if len(line) > maxPooled {
		d = new(logfmtDecoder)
		d.Decoder = logfmt.NewDecoderSize(&d.lines, len(line)+len("\n")+1)
	} else {
		d = p.decoders.Get().(*logfmtDecoder)
	}
	d.lines.reset(line)
	start := len(dst)
	dst = append(dst, '{')
	d.ScanRecord()
	for d.ScanKeyval() {
		if !d.keys.add(d.Key()) {
			continue
		}
		if len(dst) > start+len("{") {
			dst = append(dst, ',')
		}
		dst = append(jsonstring.Append(dst, d.Key()), ':')
		dst = jsonstring.Append(dst, d.Value())
	}
	d.lines.reset(nil)
	d.keys.clear()
	if d.Err() != nil {
		return dst, false // the decoder cannot be used after an error
	}
	if len(line) <= maxPooled {
		p.decoders.Put(d)
	}
	return append(dst, '}'), true
}

// keySet holds the keys of a line, which are slices of the line. It uses a map only for lines with many keys.
type keySet struct {
	few  [][]byte
	many map[string]struct{}
}

// add reports whether the key is new.
func (s *keySet) add(key []byte) bool {
	const few = 16
	if s.many != nil {
		if _, there := s.many[string(key)]; there {
			return false
		}
		s.many[string(key)] = struct{}{}
		return true
	}
	for _, other := range s.few {
		if bytes.Equal(key, other) {
			return false
		}
	}
	if s.few = append(s.few, key); len(s.few) > few {
		s.many = make(map[string]struct{})
		for _, key := range s.few {
			s.many[string(key)] = struct{}{}
		}
	}
	return true
}

func (s *keySet) clear() {
	clear(s.few)
	s.few, s.many = s.few[:0], nil
}
