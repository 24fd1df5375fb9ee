package mapping

import (
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestEscapesMakeAValueSafeWhereItStands(t *testing.T) {
	const rec = `{"s":"<b title=\"x\">'it' & ` + "`that`" + `</b>\n]]>\u0000","esc":"\u00e9\ud83d\ude00\/","n":-1.50,"t":true,"z":null,"e":"",` +
		`"o": {"k": "<i>"},"a|json":"bar","a/b?c=d&e f+g":1}`
	for _, c := range []struct{ template, want string }{
		{`{record.s|json}`, `"<b title=\"x\">'it' & ` + "`that`" + `</b>\n]]>\u0000"`},
		{`{record.s|html}`, "&lt;b title&#61;&#34;x&#34;&gt;&#39;it&#39; &amp; &#96;that&#96;&lt;/b&gt;&#10;]]&gt;\uFFFD"},
		{`{record.s|url}`, `%3Cb%20title%3D%22x%22%3E%27it%27%20%26%20%60that%60%3C%2Fb%3E%0A%5D%5D%3E%00`},
		{`{record.esc|json} {record.esc|html} {record.esc|url}`, `"\u00e9\ud83d\ude00\/" é😀/ %C3%A9%F0%9F%98%80%2F`},
		{`{record.n|json} {record.n|html} {record.n|url} {record.t|json}`, `-1.50 -1.50 -1.50 true`},
		{`{record.z|json} {record.missing|json} {record.n.x|json} {record.e|json}`, `null null null ""`},
		{`[{record.z|html}{record.missing|url}{record.e|html}]`, `[]`},
		{`{record.o|json} {record.o|html} {record.o.k|html}`, `{"k": "<i>"} {&#34;k&#34;: &#34;&lt;i&gt;&#34;} &lt;i&gt;`},
		{`{record.a\|json} {record.a\|json|json}`, `bar "bar"`},
		{`{"m":{record.n|json},"s":{record.esc|json}}`, `{"m":-1.50,"s":"\u00e9\ud83d\ude00\/"}`},
		{`{seq|json} {seq|html} {seq|url}`, `7 7 7`},
		{`{line|html}`, html.EscapeString(rec)},
		{`{a|b} {a |json } {recorder|json} {x.y|jsonp}`, `{a|b} {a |json } {recorder|json} {x.y|jsonp}`},
	} {
		want := c.want
		if strings.HasPrefix(c.template, "{line") {
			want = strings.NewReplacer("`", "&#96;", "=", "&#61;").Replace(want)
		}
		if got := apply(mustParse(t, c.template), rec, 7); got != want {
			t.Errorf("%s: got %q, want %q", c.template, got, want)
		}
	}
}

func TestEscapesOfARecordThatIsNotJSON(t *testing.T) {
	const rec = "a \"b\"\n<c>"
	for template, want := range map[string]string{
		`{record|json}`:   `"a \"b\"\n<c>"`,
		`{line|json}`:     `"a \"b\"\n<c>"`,
		`{record|html}`:   "a &#34;b&#34;&#10;&lt;c&gt;",
		`{record|url}`:    `a%20%22b%22%0A%3Cc%3E`,
		`{record.a|json}`: `null`,
		`{record.a|html}`: ``,
		`{line}`:          rec,
	} {
		if got := apply(mustParse(t, template), rec, 1); got != want {
			t.Errorf("%s: got %q, want %q", template, got, want)
		}
	}
}

// The value of a request is escaped as one of the record is.
func TestEscapesOfPlaceholdersOfTheRequest(t *testing.T) {
	tmpl := mustParse(t, `{"user":{http.auth.user.id|json},"at":"{http.request.uri|url}","h":"{unknown|html}"}`)
	if got, want := strings.Join(tmpl.Placeholders(), " "), "http.auth.user.id http.request.uri unknown"; got != want {
		t.Fatalf("placeholders are %q, want %q", got, want)
	}
	bound := tmpl.Bind(func(name string) (string, bool) { return `a"{record}/`, name != "unknown" })
	if got, want := apply(bound, "x", 1), `{"user":"a\"{record}/","at":"a%22%7Brecord%7D%2F","h":"{unknown|html}"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

var reference = regexp.MustCompile("&(amp|lt|gt|#[0-9]+);")

// FuzzEscapes escapes any text, in a string of a record and as a record of its own.
func FuzzEscapes(f *testing.F) {
	for _, s := range []string{"", "<script>alert(1)</script>", `" onclick='x' ` + "`", "]]>", "&amp;&", "\x00\r\n\u2028", "../%2e é😀", "\uFFFD"} {
		f.Add(s)
	}
	templates := map[string]*Template{}
	for _, place := range []string{"record", "record.x", "line"} {
		for word := range escapeNames {
			tmpl, err := ParseTemplate("{" + place + "|" + word + "}")
			if err != nil {
				f.Fatal(err)
			}
			templates[place+"|"+word] = tmpl
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return
		}
		object, err := json.Marshal(map[string]string{"x": text})
		if err != nil {
			t.Fatal(err)
		}
		for _, place := range []string{"record", "record.x", "line"} {
			record := text
			if place == "record.x" {
				record = string(object)
			}
			var back string
			asJSON := apply(templates[place+"|json"], record, 1)
			if err := json.Unmarshal([]byte(asJSON), &back); err != nil || back != text {
				t.Fatalf("%s|json of %q is %s: %q, %v", place, text, asJSON, back, err)
			}
			asURL := apply(templates[place+"|url"], record, 1)
			if want := strings.ReplaceAll(url.QueryEscape(text), "+", "%20"); asURL != want {
				t.Fatalf("%s|url of %q is %q, want %q", place, text, asURL, want)
			}
			asHTML := apply(templates[place+"|html"], record, 1)
			if strings.ContainsAny(reference.ReplaceAllString(asHTML, ""), "&<>\"'`=\x00\r\n") {
				t.Fatalf("%s|html of %q is %q", place, text, asHTML)
			}
			if back := html.UnescapeString(asHTML); back != strings.ReplaceAll(text, "\x00", "\uFFFD") {
				t.Fatalf("%s|html of %q is %q, and back %q", place, text, asHTML, back)
			}
		}
	})
}
