package mapping

import (
	"strings"
	"testing"
)

// sized is a JSON record of about n bytes with the interesting members last.
func sized(n int) []byte {
	head, tail := `{"time":"2026-01-02T03:04:05Z","host":"web-1","msg":"`, `","type":"order","level":"error"}`
	return []byte(head + strings.Repeat("x", n-len(head)-len(tail)) + tail)
}

func BenchmarkTemplateAppend(b *testing.B) {
	for _, c := range []struct {
		name, template string
		size           int
	}{
		{"record 200B", "{record}", 200},
		{"path 200B", "{record.type}", 200},
		{"path 4KB", "{record.type}", 4096},
	} {
		b.Run(c.name, func(b *testing.B) {
			t, err := ParseTemplate(c.template)
			if err != nil {
				b.Fatal(err)
			}
			text := sized(c.size)
			var r Document
			var dst []byte
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				r.Reset(text, 1)
				dst = t.Append(dst[:0], &r)
			}
		})
	}
}

func BenchmarkFilterMatch(b *testing.B) {
	for _, c := range []struct{ name, expr string }{
		{"equality", `record.level == "error"`},
		{"macro", `["error", "warn"].exists(l, l == record.level)`},
		{"missing key", `record.severity == "error"`},
	} {
		b.Run(c.name, func(b *testing.B) {
			w, err := CompileWhere(c.expr)
			if err != nil {
				b.Fatal(err)
			}
			f := w.Bind(nil)
			text := sized(200)
			var r Document
			b.ReportAllocs()
			for b.Loop() {
				r.Reset(text, 1)
				f.Match(&r)
			}
		})
	}
}
