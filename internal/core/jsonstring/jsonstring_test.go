package jsonstring

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAppendEscapesOnlyWhatJSONDemands(t *testing.T) {
	for text, want := range map[string]string{
		``:                       `x""`,
		`plain é 😀 </script>`:    `x"plain é 😀 </script>"`,
		`"quoted" \ back`:        `x"\"quoted\" \\ back"`,
		"\r\n\t":                 `x"\r\n\t"`,
		"\x00\x1f\x7f\u2028":     "x\"\\u0000\\u001f\x7f\u2028\"",
		strings.Repeat(`"`, 100): `x"` + strings.Repeat(`\"`, 100) + `"`,
	} {
		if got := string(Append([]byte("x"), text)); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
		if got := string(Append([]byte("x"), []byte(text))); got != want {
			t.Errorf("bytes %q: got %s, want %s", text, got, want)
		}
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	dst := make([]byte, 0, 100)
	if n := testing.AllocsPerRun(100, func() { dst = Append(dst[:0], "a \"b\"\n") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzAppend(f *testing.F) {
	f.Add("")
	f.Add("\"\\\x00\n\r\u2028<>&")
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return
		}
		out := Append(nil, text)
		var back string
		if err := json.Unmarshal(out, &back); err != nil || back != text {
			t.Fatalf("%q became %s: %q, %v", text, out, back, err)
		}
		if strings.ContainsAny(string(out), "\r\n") {
			t.Fatalf("%q became more than one line: %s", text, out)
		}
	})
}
