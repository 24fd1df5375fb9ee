package mapping

import (
	"github.com/seed-4dedbcea/caddy-sse/internal/core/parse"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// reader turns records into documents. Only one goroutine may use it at a time.
type reader struct {
	parser   *parse.Parser // nil: lines are not parsed
	document Document
	object   []byte // the object that the last line became
}

// read makes rec the document. The parser turns a line into an object. If a line does not fit, read reports false, and the
// document is the line itself.
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
