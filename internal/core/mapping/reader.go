package mapping

import (
	"github.com/seed-4dedbcea/caddy-sse/internal/core/parse"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// reader makes documents of records. One goroutine uses it at a time.
type reader struct {
	parser   *parse.Parser // nil: lines stay text
	document Document
	object   []byte // that a line became
}

// read makes rec the document. A line becomes an object. One that does not fit stays as it is, and read reports false.
func (r *reader) read(rec *records.Record) (fits bool) {
	r.document.Reset(rec.Text, rec.Seq)
	if r.parser == nil || !rec.IsLine {
		return true
	}
	if cap(r.object) > keptScratch {
		r.object = nil
	}
	if r.object, fits = r.parser.AppendObject(r.object[:0], rec.Text); fits {
		r.document.ResetParsed(r.object, rec.Text, rec.Seq)
	}
	return fits
}
