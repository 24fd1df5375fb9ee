package mapping

import (
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/parse"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

func bind(t testing.TB, spec Spec) *Mapper {
	t.Helper()
	if spec.Data == "" {
		spec.Data = "{record}"
	}
	if spec.OnInvalid == "" {
		spec.OnInvalid = Pass
	}
	m, err := Parse(spec)
	if err != nil {
		t.Fatal(err)
	}
	return m.Bind(func(string) (string, bool) { return "", false })
}

func line(text string) *records.Record {
	return &records.Record{Text: []byte(text), Seq: 3, IsLine: true, OneLine: true}
}

func TestParsedLineIsARecordWithFields(t *testing.T) {
	csv := parse.Spec{Syntax: parse.CSV, Columns: []string{"a", "b"}}
	for _, c := range []struct {
		spec       Spec
		line, want string
	}{
		{Spec{Parse: csv}, `1,x "`, "data: 1,x \"\n\n"},
		{Spec{Parse: csv}, `1,"x"`, `data: {"a":"1","b":"x"}` + "\n\n"},
		{Spec{Parse: csv, Data: "{line}"}, `1,"x"`, `data: 1,"x"` + "\n\n"},
		{Spec{Parse: csv, Data: "{line|json} {record|json} {record.b|json}{record.c}"}, `1,"x"`, `data: "1,\"x\"" "{\"a\":\"1\",\"b\":\"x\"}" "x"` + "\n\n"},
		{Spec{Parse: csv, Event: "{record.a}", ID: "{record.b}-{seq}", Where: `record.a == "1" && seq == 3`}, `1,x`, "id: x-3\nevent: 1\ndata: {\"a\":\"1\",\"b\":\"x\"}\n\n"},
		{Spec{Parse: csv, Where: `record.a == "1"`}, `2,x`, ""},
		{Spec{Parse: csv, Where: `record.a == "1"`}, `1`, ""}, // a line that does not fit has no fields
		{Spec{Parse: csv, Where: `record == "one"`}, `one`, "data: one\n\n"},
		{Spec{Parse: csv, Data: "{line} {record} {record.a}"}, `1`, "data: 1 1 \n\n"},
		{Spec{Parse: csv, OnInvalid: Skip}, `1,2`, `data: {"a":"1","b":"2"}` + "\n\n"},
		{Spec{Parse: parse.Spec{Syntax: parse.Syslog}, Where: "record.severity < 5 && record.facility == 4"}, "<34>1 - h - - - - x", `data: {"facility":4,"severity":2,"hostname":"h","message":"x"}` + "\n\n"},
		{Spec{Data: "{line}"}, `1,2`, "data: 1,2\n\n"},
	} {
		m := bind(t, c.spec)
		for range 2 {
			out, r := m.Append(nil, line(c.line), nil)
			if string(out) != c.want {
				t.Errorf("%+v of %s: got %q, %v, want %q", c.spec, c.line, out, r, c.want)
			}
		}
	}
}

func TestLineThatDoesNotFitIsWhatOnInvalidSays(t *testing.T) {
	for onInvalid, want := range map[OnInvalid]Outcome{Pass: Sent, Skip: Invalid, Fail: Refused} {
		m := bind(t, Spec{Parse: parse.Spec{Syntax: parse.CSV, Columns: []string{"a", "b"}}, OnInvalid: onInvalid})
		for _, text := range []string{"1,2,3", "1", `"`, `{"a":1}`} {
			out, r := m.Append(nil, line(text), nil)
			if r.Outcome != want || (len(out) > 0) != (want == Sent) {
				t.Errorf("%s of %s: got %v, %q", onInvalid, text, r.Outcome, out)
			}
		}
		if _, r := m.Append(nil, line("1,2"), nil); r.Outcome != Sent {
			t.Errorf("%s: a line that fits: %v", onInvalid, r.Outcome)
		}
	}
}

// A record of JSON or of an event stream is no line, even if it could be one.
func TestOnlyLinesAreParsed(t *testing.T) {
	m := bind(t, Spec{Parse: parse.Spec{Syntax: parse.CSV, Columns: []string{"a"}}, OnInvalid: Skip})
	out, r := m.Append(nil, &records.Record{Text: []byte("1"), WantsJSON: true}, nil)
	if string(out) != "data: 1\n\n" || r.Outcome != Sent {
		t.Errorf("got %q, %v", out, r)
	}
}

func TestIDOfAParsedLine(t *testing.T) {
	m, err := Parse(Spec{Data: "{record}", ID: "{record.n}", OnInvalid: Pass, Parse: parse.Spec{Syntax: parse.Logfmt}})
	if err != nil {
		t.Fatal(err)
	}
	find := func(string) (string, bool) { return "", false }
	for _, mapper := range []*Mapper{m.Bind(find), m.BindIDs(find)} {
		if id := mapper.IDOf(line("n=42")); string(id) != "42" {
			t.Errorf("got %q", id)
		}
	}
}

func TestMappingsThatParseOtherwiseDoNotShareFrames(t *testing.T) {
	keys := map[string]Spec{}
	for _, spec := range []Spec{
		{}, {Parse: parse.Spec{Syntax: parse.Logfmt}}, {Parse: parse.Spec{Syntax: parse.Syslog}},
		{Parse: parse.Spec{Syntax: parse.CSV, Columns: []string{"a", "b"}}}, {Parse: parse.Spec{Syntax: parse.CSV, Columns: []string{"b", "a"}}},
		{Parse: parse.Spec{Syntax: parse.CSV, Columns: []string{"a b"}}}, {Parse: parse.Spec{Syntax: parse.Regexp, Pattern: "(?P<a>.)"}},
	} {
		for _, data := range []string{"{record}", "{record} {http.request.uri}"} { // for all, and for each client
			spec.Data, spec.ID = data, "{record.a}"
			m, err := Parse(spec)
			if err != nil {
				t.Fatal(err)
			}
			if other, there := keys[m.Key()]; there {
				t.Errorf("%+v and %+v have the same key", spec, other)
			}
			keys[m.Key()] = spec
		}
	}
}

func TestALargeLineLeavesNoLargeBuffers(t *testing.T) {
	m := bind(t, Spec{Data: "{line} {record.a|html}", Parse: parse.Spec{Syntax: parse.CSV, Columns: []string{"a"}}})
	_, _ = m.Append(nil, line(strings.Repeat("<", 1<<20)), nil)
	_, _ = m.Append(nil, line("1"), nil)
	if cap(m.object) > keptScratch || cap(m.scratch) > keptScratch {
		t.Errorf("%d and %d bytes are kept", cap(m.object), cap(m.scratch))
	}
}

var parsed = []struct {
	spec parse.Spec
	line string
}{
	{parse.Spec{Syntax: parse.CSV, Columns: []string{"a", "-", "b", "c"}}, `MSG,3,"x ""y""",4CA2D6`},
	{parse.Spec{Syntax: parse.Regexp, Pattern: `^(?P<addr>\S+) - (?P<user>\S+) "(?P<request>[^"]*)" (?P<status>\d+)$`}, `127.0.0.1 - alice "GET / HTTP/1.1" 200`},
	{parse.Spec{Syntax: parse.Logfmt}, `time=2026-11-25T03:04:05Z level=info msg="a \"b\" c" n=1`},
	{parse.Spec{Syntax: parse.Syslog}, `<34>1 2003-10-11T22:14:15.003Z h su 12 ID47 [a b="c"] failed`},
	{parse.Spec{Syntax: parse.Syslog}, `<34>Oct 11 22:14:15 mymachine su[12]: failed`},
}

func BenchmarkParsedLine(b *testing.B) {
	for _, c := range parsed {
		b.Run(c.spec.Syntax, func(b *testing.B) {
			m, rec := bind(b, Spec{Parse: c.spec}), line(c.line)
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				dst, _ = m.Append(dst[:0], rec, nil)
			}
		})
	}
}
