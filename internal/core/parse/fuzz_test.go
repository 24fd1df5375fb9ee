package parse

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

// decode reads an object, and refuses a name that is there twice.
func decode(t *testing.T, text []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	var read func() any
	read = func() any {
		token, err := d.Token()
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if token != json.Delim('{') {
			return token
		}
		members := make(map[string]any)
		for d.More() {
			name, err := d.Token()
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if _, twice := members[name.(string)]; twice {
				t.Fatalf("%s has %q twice", text, name)
			}
			members[name.(string)] = read()
		}
		_, _ = d.Token()
		return members
	}
	members, ok := read().(map[string]any)
	if _, err := d.Token(); !ok || err != io.EOF {
		t.Fatalf("%s is not an object", text)
	}
	return members
}

// fuzz gives lines to a parser. Each line becomes a JSON object in one line, the same each time, that check accepts.
func fuzz(f *testing.F, p *Parser, check func(t *testing.T, line string, fields map[string]any)) {
	f.Fuzz(func(t *testing.T, line string) {
		if !utf8.ValidString(line) || strings.Contains(line, "\n") {
			return
		}
		out, fits := p.AppendObject(nil, []byte(line))
		again, fitsAgain := p.AppendObject(nil, []byte(line))
		if fits != fitsAgain || !bytes.Equal(out, again) {
			t.Fatalf("%q became %q, and then %q", line, out, again)
		}
		if !fits {
			check(t, line, nil)
			return
		}
		if bytes.ContainsAny(out, "\r\n") || !utf8.Valid(out) {
			t.Fatalf("%q became %q", line, out)
		}
		check(t, line, decode(t, out))
	})
}

func FuzzCSV(f *testing.F) {
	for _, line := range []string{"1,2,3", `"a ""b""",,`, `"`, ",,,", "é,\uFFFD,\x00", `a"b,c,d`, "\r,,"} {
		f.Add(line)
	}
	p := mustNew(f, Spec{Syntax: CSV, Columns: []string{"a", "b", "c"}})
	fuzz(f, p, func(t *testing.T, line string, fields map[string]any) {
		want, err := csv.NewReader(strings.NewReader(line)).Read()
		if fits := err == nil && len(want) == 3; fits != (fields != nil) {
			t.Fatalf("%q became %v, encoding/csv says %q, %v", line, fields, want, err)
		}
		for i, name := range []string{"a", "b", "c"} {
			if fields != nil && fields[name] != want[i] {
				t.Fatalf("%q became %v, encoding/csv says %q", line, fields, want)
			}
		}
	})
}

func FuzzRegexp(f *testing.F) {
	for _, line := range []string{"GET /x 200", "a b", "", `é "\`, "\x00\uFFFD  x"} {
		f.Add(line)
	}
	p := mustNew(f, Spec{Syntax: Regexp, Pattern: `^(?P<first>\S*) (?P<rest>.*?)(?: (?P<last>[0-9]+))?$`})
	fuzz(f, p, func(t *testing.T, line string, fields map[string]any) {
		if fields == nil {
			return
		}
		whole := fields["first"].(string) + " " + fields["rest"].(string)
		if last, ok := fields["last"]; ok {
			whole += " " + last.(string)
		}
		if whole != line {
			t.Fatalf("%q became %v", line, fields)
		}
	})
}

func FuzzLogfmt(f *testing.F) {
	for _, line := range []string{`a=1 b="x \"y\"" c`, `a=1 a=2`, `a="`, `a=\u00e9 é="\ud800"`, "=\uFFFD", `a="\u00"`} {
		f.Add(line)
	}
	fuzz(f, mustNew(f, Spec{Syntax: Logfmt}), func(t *testing.T, line string, fields map[string]any) {
		for name := range fields {
			if name == "" || !strings.Contains(line, name) {
				t.Fatalf("%q became %v", line, fields)
			}
		}
	})
}

func FuzzSyslog(f *testing.F) {
	for _, line := range []string{
		"<34>1 2003-10-11T22:14:15.003Z h su 1 ID47 - \uFEFFfailed", `<165>1 - - - - - [a b="\"1\"" c="]"][d] x`, "<34>1 - - - - - -",
		"<34>Oct 11 22:14:15 mymachine su: failed", "<13>Oct  1 22:14:15 host app[12]:tight", "<13>Oct  1 22:14:15 h foo[bar", "<13>2026-11-25T03:04:05Z h a[]:x",
		"<13>Oct  1 22:14:15 host app: \x1b[31m\r", "<13>hello", "<1>1 ", "<0>Jan  1 00:00:00.1 [x]: y",
	} {
		f.Add(line)
	}
	fuzz(f, mustNew(f, Spec{Syntax: Syslog}), func(t *testing.T, line string, fields map[string]any) {
		if fields == nil {
			return
		}
		facility, severity := fields["facility"].(float64), fields["severity"].(float64)
		if facility < 0 || facility > 23 || severity < 0 || severity > 7 {
			t.Fatalf("%q became %v", line, fields)
		}
		for _, name := range []string{"timestamp", "hostname", "appname", "procid", "msgid"} {
			if text, there := fields[name]; there && (text == "" || !strings.Contains(line, text.(string))) {
				t.Fatalf("%q became %v", line, fields)
			}
		}
		// Nothing of a message is lost.
		if message, _ := fields["message"].(string); !strings.HasSuffix(line, message) {
			t.Fatalf("%q became %v", line, fields)
		}
		for name := range fields {
			if !strings.Contains(" facility severity timestamp hostname appname procid msgid structured_data message ", " "+name+" ") {
				t.Fatalf("%q became %v", line, fields)
			}
		}
	})
}
