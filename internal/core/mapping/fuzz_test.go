package mapping

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// decode reads JSON the naive way, with numbers as written. Objects with
// a name twice are refused: which of the two counts is a matter of taste.
func decode(d *json.Decoder) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		m := map[string]any{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			if _, twice := m[name.(string)]; twice {
				return nil, errors.New("duplicate name")
			}
			if m[name.(string)], err = decode(d); err != nil {
				return nil, err
			}
		}
		_, err = d.Token()
		return m, err
	case json.Delim('['):
		a := []any{}
		for d.More() {
			v, err := decode(d)
			if err != nil {
				return nil, err
			}
			a = append(a, v)
		}
		_, err = d.Token()
		return a, err
	}
	return token, nil
}

// FuzzTemplatePath compares {record.path} with a walk over what encoding/json
// makes of the record.
func FuzzTemplatePath(f *testing.F) {
	for _, c := range [][2]string{
		{`{"a":{"b":"c"}}`, "a\x00b"}, {`{"a":[1,{"b":null}]}`, "a\x001\x00b"}, {`["x\ud800\u0000\ud83d\ude00"]`, "0"},
		{`{"01":1,"*":[true],"@x":{"#":-0.1e5}}`, "@x\x00#"}, {` [[],{}] `, "01"}, {`"{\"a\":1}"`, "a"}, {`{"\u0061\\":"\/"}`, `a\`},
		{`{"a":"\\\"","b":["}","]"]}`, "b\x001"}, {`{"a|b":1,"..":2}`, ".."}, {`{"\ud800":1}`, "\uFFFD"},
	} {
		f.Add([]byte(c[0]), c[1])
	}
	escape := strings.NewReplacer(`\`, `\\`, `.`, `\.`, `|`, `\|`, `{`, `\{`, `}`, `\}`)
	f.Fuzz(func(t *testing.T, text []byte, joined string) {
		if !utf8.Valid(text) || !utf8.ValidString(joined) {
			return
		}
		var r Document
		r.Reset(text, 1)
		if r.IsJSON() != json.Valid(text) {
			t.Fatalf("JSON: %v, encoding/json says %v", r.IsJSON(), json.Valid(text))
		}
		names := strings.Split(joined, "\x00")
		var path strings.Builder
		for _, name := range names {
			if name == "" {
				return
			}
			path.WriteString("." + escape.Replace(name))
		}
		tmpl, err := ParseTemplate("{record" + path.String() + "}")
		if err != nil {
			t.Fatal(err)
		}
		got := string(tmpl.Append(nil, &r))
		if !utf8.ValidString(got) {
			t.Fatalf("invalid UTF-8: %q", got)
		}
		if !r.IsJSON() {
			if got != "" {
				t.Fatalf("%q from what is not JSON", got)
			}
			return
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		v, err := decode(d)
		if err != nil {
			return
		}
		for _, name := range names {
			switch x := v.(type) {
			case map[string]any:
				v = x[name]
			case []any:
				n, err := strconv.Atoi(name)
				if err != nil || strconv.Itoa(n) != name || n < 0 || n >= len(x) {
					v = nil
					break
				}
				v = x[n]
			default:
				v = nil
			}
		}
		var want string
		switch x := v.(type) {
		case nil:
		case string:
			want = x
		case json.Number:
			want = x.String()
		case bool:
			want = strconv.FormatBool(x)
		default:
			// As written in the record, so compare what both mean.
			d := json.NewDecoder(strings.NewReader(got))
			d.UseNumber()
			again, err := decode(d)
			if err != nil {
				t.Fatalf("%q: %v", got, err)
			}
			if _, err := d.Token(); err != io.EOF {
				t.Fatalf("%q has more than one value", got)
			}
			a, _ := json.Marshal(again)
			b, _ := json.Marshal(x)
			got, want = string(a), string(b)
		}
		if got != want {
			t.Fatalf("%s of %s: got %q, want %q", tmpl, text, got, want)
		}
	})
}

func FuzzParseTemplate(f *testing.F) {
	for _, s := range []string{`{record}`, `{"a":{record.a.b},"n":{seq}}`, `{record.a\.b}{http.request.uri}`, `\{x}`, `{{{`, `}{`, `{record.`, `{$X} {y z}`,
		`{record.a|json}{record|html}{line|url}{seq|json}`, `{x|html} {y|z}`, `{record.a\|b|`} {
		f.Add(s, `{"a":{"b":"x"}}`)
	}
	f.Fuzz(func(t *testing.T, s, text string) {
		tmpl, err := ParseTemplate(s)
		if err != nil {
			return
		}
		if tmpl.String() != s {
			t.Fatalf("source %q became %q", s, tmpl)
		}
		if !utf8.ValidString(text) {
			return
		}
		got := apply(tmpl, text, 1)
		if !strings.ContainsAny(s, "{}") && got != s {
			t.Fatalf("text %q became %q", s, got)
		}
		for _, p := range tmpl.parts {
			if p.kind == namePart && p.escape != unescaped {
				return // bound to itself it comes out escaped
			}
		}
		// Binding each name to itself must change nothing.
		same := tmpl.Bind(func(name string) (string, bool) { return "{" + name + "}", true })
		if again := apply(same, text, 1); again != got || len(same.Placeholders()) > 0 {
			t.Fatalf("bound to itself, %q became %q, with placeholders %q", got, again, same.Placeholders())
		}
	})
}

func FuzzWhere(f *testing.F) {
	lookup := values(map[string]string{"x": "v"})
	var filters []*Filter
	for _, expr := range []string{
		`record.a == "error"`, `record.a.b[1] == {x}`, `has(record.a.b)`, `"a" in record`, `"{x}" in record.a`,
		`record.all(k, record[k] == record[k])`, `record.exists(k, type(record[k]) == map)`, `record.a.map(e, e) == record.a`,
		`record.a.filter(e, e != 1).size() < record.a.size()`, `record == record`, `record == {"a": [1, 2.0, null, "x"]}`, `size(record) > 1`,
		`record.n % 10 == 0`, `record.n + 1 > 2.5`, `-record.n < record.m`, `record.a + record.b == record.c`, `record.a.join(",") == "{x}"`,
		`record.a[record.n] == record.m`, `string(record) == "x"`, `record.matches("a+b")`, `record.?a.?b.orValue(1) == 1`, `record.a.sort() == record.a`,
		`lists.range(record.n).size() == 3`, `"%s %d".format([record, seq]) != ""`, `record.a.distinct().size() == 1`, `record`,
	} {
		w, err := CompileWhere(expr)
		if err != nil {
			f.Fatal(err)
		}
		filters = append(filters, w.Bind(lookup))
	}
	for _, s := range []string{
		`{"a":"error"}`, `{"a":{"b":[1,"v"]}}`, `{"a":[1,2,null,"x"],"n":1,"m":2}`, `[1,[2,[3]]]`, `"x"`, `-1.5e3`, `null`, `plain`, ``,
		`{"a":[],"b":[{}],"c":[{}]}`, `{"n":9223372036854775808,"m":-9223372036854775809}`, `{"a":1,"a":{"b":2}}`, `{"\u0061":"\ud800"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		text = bytes.ToValidUTF8(text, []byte("\uFFFD"))
		var r Document
		for _, filter := range filters {
			r.Reset(text, 1)
			ok, err := filter.Match(&r)
			if err != nil && (ok || strings.Contains(err.Error(), "internal error")) {
				t.Fatalf("%s: %v, %v", text, ok, err)
			}
			r.Reset(text, 1)
			if again, _ := filter.Match(&r); again != ok {
				t.Fatalf("%s: %v, and then %v", text, ok, again)
			}
		}
	})
}
