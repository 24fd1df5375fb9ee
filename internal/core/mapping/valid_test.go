package mapping

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestWhatIsJSONIsWhatTheStandardLibraryTakesForIt(t *testing.T) {
	for _, text := range []string{
		"", " ", "null", " true ", "false", "nul", "truex", "0", "-0", "01", "-", "1.", ".5", "1.5e", "1.5e+", "1E-9", "1e5 ",
		`""`, `"a`, `"\x"`, `"\u12g4"`, `"\u123"`, `"\u1234"`, `"12345678\"90"`, "\"\t\"", "\"\x7f\"", "\"1234567\x1f\"", `"é日本語の長い文字列"`,
		"{}", "[]", "{ }", "[ ]", "{]", "[}", "[1,]", "[,1]", "[1 2]", `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `{"a":1 "b":2}`,
		`{"a":[{"b":[]},{}],"c":"d"}`, `{"a":1}}`, `[[[[]]]`, "{} {}", "[1]]", "\ufeff{}", "{\"a\"\n:\r\t1 }",
		strings.Repeat("[", 5000) + strings.Repeat("]", 5000), strings.Repeat(`{"a":`, 9000) + "1" + strings.Repeat("}", 9000),
		strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth), strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1),
	} {
		if got, want := new(pathValues).scan([]byte(text)), json.Valid([]byte(text)); got != want {
			t.Errorf("%.60q: %v, want %v", text, got, want)
		}
	}
}

func FuzzIsJSON(f *testing.F) {
	f.Add(`{"a":[1,2.5e-3,true,null,"x\u00e9\"y"],"b":{"c":"0123456789"}}`)
	f.Add(`"` + strings.Repeat("x", 30) + `\\"`)
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return
		}
		if got, want := new(pathValues).scan([]byte(text)), json.Valid([]byte(text)); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	})
}

func BenchmarkIsJSON(b *testing.B) {
	for _, size := range []int{200, 4096} {
		text := []byte(fmt.Sprintf(`{"n":12345678,"t":1795420800123456789,"type":"update","pad":"%s"}`, strings.Repeat("x", size-64)))
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if !new(pathValues).scan(text) {
					b.Fatal("not JSON")
				}
			}
		})
	}
}
