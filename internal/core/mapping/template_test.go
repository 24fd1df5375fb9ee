package mapping

import (
	"slices"
	"strings"
	"testing"
)

func mustParse(t testing.TB, s string) *Template {
	t.Helper()
	tmpl, err := ParseTemplate(s)
	if err != nil {
		t.Fatal(err)
	}
	return tmpl
}

func apply(t *Template, text string, seq uint64) string {
	var r Document
	r.Reset([]byte(text), seq)
	return string(t.Append(nil, &r))
}

func TestTemplateGivesTheValuesOfARecord(t *testing.T) {
	const rec = `{"a":{"b":"x\n\"y\"","c.d":1,"e\\f":2,"g{h}":3,"é":4,"":5,"01":6,"0":7},` +
		`"items":[{"name":"n0"},[10,20],null],"n":-1.50e3,"t":true,"f":false,"z":null,"o": {"k": [1, 2]},` +
		`"esc\u0041\/":"\ud83d\ude00 \ud800 \udc00 \ud800\u0041","*":"star","a*":"as","@this":"at","!x":"ex","#":"hash","a|b":"pipe","~":"tilde","..":"dots"}`
	for _, c := range []struct{ template, want string }{
		{`{record}`, rec},
		{`no placeholder`, `no placeholder`},
		{``, ``},
		{`{record.a.b}`, "x\n\"y\""},
		{`{record.a.c\.d}`, `1`},
		{`{record.a.e\\f}`, `2`},
		{`{record.a.g\{h\}}`, `3`},
		{`{record.a.é}`, `4`},
		{`{record.a.01}{record.a.0}`, `67`},
		{`{record.items.0.name}`, `n0`},
		{`{record.items.1.1}`, `20`},
		{`{record.items.1}`, `[10,20]`},
		{`{record.items.2}`, ``},
		{`{record.n}|{record.t}|{record.f}|{record.z}`, `-1.50e3|true|false|`},
		{`{record.o}`, `{"k": [1, 2]}`},
		{`{record.escA/}`, "\U0001F600 \uFFFD \uFFFD \uFFFDA"},
		{`{record.missing}{record.a.missing}{record.n.x}{record.a.b.c}`, ``},
		{`{record.items.01}{record.items.-1}{record.items.+1}{record.items.3}{record.items.#}{record.items.*}{record.items.18446744073709551616}`, ``},
		{`{record.*}{record.a*}{record.@this}{record.!x}{record.#}{record.a\|b}{record.~}{record.\.\.}`, `starasatexhashpipetildedots`},
		{`{record.?}{record.@pretty}{record.items.#.name}{record.items.#(name=="n0")}{record.a\|@this}{record.[n,t]}`, ``},
		{`{"a":{record.a.0},"seq":{seq}}`, `{"a":7,"seq":42}`},
		{`{{seq}}`, `{42}`},
		{`\{record} \{seq\} \x \\`, `{record} {seq} \x \\`},
		{`{recorder} {sequence} {record-x} { record} {} {"record"} {http.request.uri`, `{recorder} {sequence} {record-x} { record} {} {"record"} {http.request.uri`},
	} {
		if got := apply(mustParse(t, c.template), rec, 42); got != c.want {
			t.Errorf("%s: got %q, want %q", c.template, got, c.want)
		}
	}
}

func TestTemplatePathsOfWhatIsNoJSONObjectAreEmpty(t *testing.T) {
	tmpl := mustParse(t, `[{record.a}{record.0}]`)
	for text, want := range map[string]string{
		`plain`: `[]`, ``: `[]`, `{"a":1`: `[]`, `{"a":1} x`: `[]`, `"{\"a\":1}"`: `[]`, `12`: `[]`,
		" \t{\"a\":1}\r\n": `[1]`, ` ["x"] `: `[x]`, `{"a":1}{"a":2}`: `[]`,
	} {
		if got := apply(tmpl, text, 1); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestTemplateThatWouldSurpriseAtRunTimeIsAConfigError(t *testing.T) {
	for template, want := range map[string]string{
		`{record`:                           `write {record}`,
		`{"x":{record`:                      `write {record}`,
		`{record {seq}`:                     `write {record}`,
		`{record.a`:                         `{record.a is not closed`,
		`x {record.a {seq}`:                 `{record.a  is not closed`,
		`{record.a\}`:                       `{record.a\} is not closed`,
		`{record.}`:                         `{record.} has an empty key`,
		`{record.a..b}`:                     `{record.a.. has an empty key`,
		`{record..a}`:                       `{record.. has an empty key`,
		`{record.a.}`:                       `{record.a.} has an empty key`,
		`{record.a\n}`:                      `after {record.a\ only one of`,
		`{record.a\`:                        `after {record.a\ only one of`,
		`{seq`:                              `write {seq}`,
		`{seq {seq}`:                        `write {seq}`,
		`{line`:                             `write {line}`,
		`{record.a|}`:                       `no escape ""`,
		`{record.a|b}`:                      `no escape "b"`,
		`{record|JSON}`:                     `no escape "JSON"`,
		`{record.a| json}`:                  `no escape " json"`,
		`{record.a|json|html}`:              `no escape "json|html"`,
		`{seq|hex}`:                         `no escape "hex"`,
		`{line|text}`:                       `write |json, |html or |url, or \| for a bar that belongs to the key`,
		`{record.a|json`:                    `write a } after |json, |html or |url`,
		`{record|json {seq}`:                `write a } after |json, |html or |url`,
		`{record.|json}`:                    `{record.| has an empty key`,
		`{record.a.|json}`:                  `{record.a.| has an empty key`,
		`{seq.`:                             `write {seq}`,
		strings.Repeat("{", 10) + `record.`: `is not closed`,
	} {
		_, err := ParseTemplate(template)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "template ") {
			t.Errorf("%s: got error %v, want one with %q", template, err, want)
		}
	}
}

func TestTemplatePlaceholdersOfTheRequestAreBoundOnce(t *testing.T) {
	tmpl := mustParse(t, `{"u":{http.request.uri},"v":"{vars.x}"} {$ENV} {http.request.uri} {record.k} {a b} {no"pe} {1x}`)
	if got, want := tmpl.Placeholders(), []string{"http.request.uri", "vars.x", "$ENV", "a b"}; !slices.Equal(got, want) {
		t.Fatalf("placeholders: got %q, want %q", got, want)
	}
	first := tmpl.Bind(func(name string) (string, bool) { return "{record}{vars.x}", name == "http.request.uri" })
	const rec = `{"k":"{seq}{vars.x}"}`
	if got, want := apply(first, rec, 1), `{"u":{record}{vars.x},"v":"{vars.x}"} {$ENV} {record}{vars.x} {seq}{vars.x} {a b} {no"pe} {1x}`; got != want {
		t.Errorf("first bind: got %q, want %q", got, want)
	}
	if got, want := first.Placeholders(), []string{"vars.x", "$ENV", "a b"}; !slices.Equal(got, want) {
		t.Errorf("after the first bind: placeholders %q, want %q", got, want)
	}
	second := first.Bind(func(name string) (string, bool) { return "V", name == "vars.x" })
	if got, want := apply(second, rec, 1), `{"u":{record}{vars.x},"v":"V"} {$ENV} {record}{vars.x} {seq}{vars.x} {a b} {no"pe} {1x}`; got != want {
		t.Errorf("second bind: got %q, want %q", got, want)
	}
	if second.String() != tmpl.String() {
		t.Errorf("source changed: %q", second)
	}
	if plain := mustParse(t, `{record} {seq} x`); plain.Bind(nil) != plain {
		t.Error("a template without placeholders was copied")
	}
}

func TestTemplateKnowsWhatItDependsOn(t *testing.T) {
	for _, c := range []struct {
		template                       string
		isRecord, usesRecord, needJSON bool
	}{
		{`{record}`, true, true, false},
		{`{record} `, false, true, false},
		{`{record.a}`, false, true, true},
		{`{seq}`, false, true, false},
		{`{http.request.uri}`, false, false, false},
		{`text`, false, false, false},
		{``, false, false, false},
		{`{line}`, false, true, false},
		{`{record|json}`, false, true, false},
		{`{record.a|json}`, false, true, true},
	} {
		tmpl := mustParse(t, c.template)
		if tmpl.IsRecord() != c.isRecord || tmpl.UsesRecord() != c.usesRecord || tmpl.NeedsJSON() != c.needJSON {
			t.Errorf("%s: got %v %v %v", c.template, tmpl.IsRecord(), tmpl.UsesRecord(), tmpl.NeedsJSON())
		}
	}
}

func TestRecordForgetsTheOneBefore(t *testing.T) {
	var r Document
	tmpl := mustParse(t, `{record.a}{seq}`)
	for i, c := range []struct{ text, want string }{{`{"a":"x"}`, "x0"}, {`not json`, "1"}, {`{"a":"y"}`, "y2"}} {
		r.Reset([]byte(c.text), uint64(i))
		if got := string(tmpl.Append(nil, &r)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.text, got, c.want)
		}
		if string(r.Text()) != c.text || r.IsJSON() != (c.text[0] == '{') {
			t.Errorf("%s: text %q, JSON %v", c.text, r.Text(), r.IsJSON())
		}
	}
}

// A record of nothing but brackets must not take the server's stack.
func TestRecordNestedTooDeepIsText(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, c := range []struct {
		name, text string
		want       bool
	}{
		{"at the limit", nested(maxDepth), true},
		{"over the limit", nested(maxDepth + 1), false},
		{"never closed", strings.Repeat(`{"a":[`, 2_000_000), false},
		{"brackets in a string", `["\"` + strings.Repeat("[", 2*maxDepth) + `"]`, true},
		{"many, but flat", "[" + strings.Repeat("[],", maxDepth) + "1]", true},
	} {
		var r Document
		r.Reset([]byte(c.text), 1)
		if r.IsJSON() != c.want {
			t.Errorf("%s: JSON %v, want %v", c.name, r.IsJSON(), c.want)
		}
	}
}

func TestTemplateAppendAllocatesNothing(t *testing.T) {
	text := []byte(`{"skip":"a\nb","num":1.5,"@type":"order","a":{"b":"plain","esc":"line\nbreak"},"list":[1,"two"]}`)
	for _, s := range []string{`{record}`, `{record.@type}`, `{record.a.b}`, `{record.a.esc}`, `{record.list.1}`, `{seq}`, `{record.missing}`, `{record.a}`, `x{seq}{unbound}`,
		`{record|json}`, `{line}`, `{record.a.esc|json}`, `{record.a.esc|html}`, `{record.a.esc|url}`, `{record|html}`, `{record|url}`, `{record.missing|json}`} {
		tmpl := mustParse(t, s)
		var r Document
		dst := make([]byte, 0, 1024)
		if n := testing.AllocsPerRun(100, func() {
			r.Reset(text, 1<<60)
			dst = tmpl.Append(dst[:0], &r)
		}); n != 0 {
			t.Errorf("%s: %v allocations", s, n)
		}
	}
}
